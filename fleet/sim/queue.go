// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"container/heap"
	"time"
)

// event is what happens to a process next. Each process has at most one.
type event struct {
	at      time.Duration
	order   uint64 // events at the same moment come in the order in which they were pushed
	process int32
	kind    kind
	attempt int8  // of a fetch, from 1
	status  int16 // of a fetch that ends
	token   int16 // that it brings; 0: none
	flight  *flight
}

// queue has the events in the order of their moments. Those of the current second are
// in a heap. Those of each later second are in a list, which becomes a heap when its
// second begins. With a million processes, one heap for all takes three times as long.
type queue struct {
	now    eventHeap
	second int // the current one
	later  [][]event
	order  uint64
}

// newQueue makes a queue for events before end. It drops later ones.
func newQueue(end time.Duration) *queue {
	return &queue{later: make([][]event, (end+time.Second-1)/time.Second)}
}

func (q *queue) push(e event) {
	q.order++
	e.order = q.order
	switch second := int(e.at / time.Second); {
	case second >= len(q.later):
	case second > q.second:
		q.later[second] = append(q.later[second], e)
	default:
		q.now = append(q.now, e)
		heap.Fix(&q.now, len(q.now)-1) // heap.Push, without its allocation
	}
}

// pop returns the next event. It returns false if there is none.
func (q *queue) pop() (event, bool) {
	for len(q.now) == 0 {
		if q.second++; q.second >= len(q.later) {
			return event{}, false
		}
		q.now, q.later[q.second] = q.later[q.second], nil
		heap.Init(&q.now)
	}
	e := q.now[0]
	last := len(q.now) - 1
	q.now[0] = q.now[last]
	if q.now = q.now[:last]; last > 0 {
		heap.Fix(&q.now, 0)
	}
	return e, true
}

type eventHeap []event

func (h eventHeap) Len() int      { return len(h) }
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}

// Push and Pop are for heap.Interface. The queue does not use them.
func (h *eventHeap) Push(x any) { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	*h = (*h)[:last]
	return e
}
