// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

// Package fetchtool is a tool with which a language model fetches from a
// protected API, authenticated by an AuthSec trust delegation. It does for agents in
// Go what AuthSecSecureFetchTool does for CrewAI:
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
// A model can be steered by text it reads (prompt injection). So the tool, not
// the model, decides where the token goes: to URLs at or below
// [Config.DownstreamURLs], with the methods in [Config.Methods]. Scheme, host
// and port must be the same, and the path must lie below by whole segments.
// Each redirect is checked in the same way before it is followed, and one that
// leads elsewhere is an error.
//
// A URL that parsers or servers read in several ways is refused, not repaired:
// one with a user name, a backslash, white space or invisible characters; with
// an escaped dot, slash, backslash, percent or control character in its path, a
// character that becomes one of them in Unicode's normal form NFKC, or escapes that
// are no UTF-8; with a segment such as "..;" or "..%3F"; with a host that is not
// ASCII. Any other URL is compared and sent in one canonical form: dot and
// empty segments are resolved, needless escapes undone, a fragment dropped.
//
// A model's URL is also refused if it has marks around it or in its path that models
// write around an input: quotes, brackets, backticks, a code fence. This includes the
// URL in the input's JSON. The model is told to leave them out, or to escape them if
// they belong to the URL. Names may have apostrophes and parentheses, as in
// Customers('A'). A path is also refused if it begins with the API's host, or with a
// mark, a method or a name and an equals sign before its first slash. Apart from all
// this, a query may hold anything.
//
// The tool can't tell a good request below a permitted URL from a bad one: give
// it the narrowest URLs, methods and delegation that are enough. The API's host is
// trusted with the token, whatever address its name resolves to.
//
// # What a model gets
//
// Text: valid UTF-8, at most [Config.MaxAnswer] bytes, within
// [Config.Timeout]. Other content is refused; the model reads its type and size. If
// there is no content, the model reads the status. The media type is the only header
// that the model gets. It gets no trailers, and not the text of the status line.
//
// If an API echoes the token or the client ID, in its text, the media type or a
// redirect's URL, the model reads "[redacted]" in its place. They are found in any
// case; escaped as URLs, HTML, JSON and JavaScript do, up to six times over; in
// base64, with or without line breaks, and in base64 of base64; and in mixtures of
// these. A client ID is also found without its hyphens, and a token without its
// signature.
//
// Nothing else is looked for. Secrets that are encrypted, compressed, reversed, split
// up or encoded in another way (hex, base32, quoted-printable, octal) are not found,
// and other secrets that the API may send are not known. An API can get the token past
// the tool on purpose. But it has the token already.
//
// Everything else in an answer is returned unchanged. It can steer the model
// (prompt injection), and the agent has to deal with that.
//
// # Errors
//
// Agent frameworks end a run when a tool returns an error, so [Tool.Call]
// returns one only for what a model can't fix: the end of its context, and an
// AuthSec configuration that the server refuses. Every other failure is text that
// begins with "Error:" and says what to do. If it follows a request other than GET and
// HEAD, it says whether the API may have carried that out, so that the model does not
// send it twice. [Tool.Fetch] returns an [*Error] for it, with a [Kind] that programs
// can test.
package fetchtool
