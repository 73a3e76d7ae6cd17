// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package fetchtool is a tool with which a language model fetches from a
// protected API, authenticated by an AuthSec trust delegation. It is what
// AuthSecSecureFetchTool is to CrewAI:
//
//	cfg, err := authsec.ConfigFromEnv() // AUTHSEC_BASE_URL, AUTHSEC_AGENT_CLIENT_ID
//	tool, err := fetchtool.New(fetchtool.Config{AuthSec: cfg, DownstreamURLs: []string{os.Getenv("DOWNSTREAM_URL")}})
//	answer, err := tool.Call(ctx, "/customers/42")
//
// [Tool] has the methods that Go's agent frameworks ask of a tool (Name,
// Description and Call, as langchaingo's tools.Tool has them), and imports none
// of them. For those with structured input there are [Tool.Schema] and
// [Tool.Fetch].
//
// # What a model can reach
//
// A model does what a text tells it that it has read, and strangers write
// texts. So the tool, not the model, decides where the token goes: to URLs at
// or below [Config.DownstreamURLs], with the methods in [Config.Methods].
// Scheme, host and port must be the same, and the path must lie below by whole
// segments. Each redirect is held to the same rule before it is followed, and
// one that leads elsewhere is an error.
//
// A URL that parsers or servers read in several ways is refused, not mended:
// one with a user name, a backslash, white space or invisible characters; with
// an escaped dot, slash, backslash, percent or control character in its path,
// or escapes that are no UTF-8; with a segment such as "..;"; with a host that
// is not ASCII. What is left is brought into one form, in which it is compared
// and sent: dot and empty segments are resolved, needless escapes undone,
// a fragment dropped. A query may hold anything.
//
// The tool can't tell a good request below a permitted URL from a bad one: give
// it the narrowest URLs, methods and delegation that do. The API's host is
// trusted with the token, by whatever address its name has.
//
// # What a model gets
//
// Text: valid UTF-8, at most [Config.MaxAnswer] bytes, within
// [Config.Timeout]. Other content is refused with its type and size. The token
// and the client ID are struck out where an API echoes them, also
// percent-, HTML-, JSON- or base64-encoded. Headers are not handed on. All else
// in an answer is passed on as it came: a text that gives orders to the model
// is the agent's own problem still.
//
// # Errors
//
// Agent frameworks end a run when a tool returns an error, so [Tool.Call]
// returns one only for what a model can't mend: the end of its context, and an
// AuthSec configuration that the server refuses. All else comes as text that
// begins with "Error:" and says what to do. [Tool.Fetch] returns an [*Error]
// for it, with a [Kind] that programs can tell.
package fetchtool
