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
// an escaped dot, slash, backslash, percent or control character in its path, a
// character that becomes one of them in Unicode's normal form NFKC, or escapes that
// are no UTF-8; with a segment such as "..;" or "..%3F"; with a host that is not
// ASCII. What is left is brought into one form, in which it is compared
// and sent: dot and empty segments are resolved, needless escapes undone,
// a fragment dropped. A query may hold anything.
//
// A model's URL is refused as well if something stands around it or in its path that
// models write around an input: quotes, brackets, backticks, a code fence. That holds
// for the URL in the input's JSON, too. The model is told to leave it out, or to escape
// it if it belongs to the URL. Names may have apostrophes and parentheses, as in
// Customers('A').
//
// The tool can't tell a good request below a permitted URL from a bad one: give
// it the narrowest URLs, methods and delegation that do. The API's host is
// trusted with the token, by whatever address its name has.
//
// # What a model gets
//
// Text: valid UTF-8, at most [Config.MaxAnswer] bytes, within
// [Config.Timeout]. Other content is refused with its type and size. Headers,
// trailers and the text of the status line are not passed on. Only the media type is.
//
// If an API echoes the token or the client ID, in its text, the media type or a
// redirect's URL, the model reads "[redacted]" in its place. They are found in any case; escaped as URLs, HTML, JSON and
// JavaScript do, up to six times over; in base64, with or without line breaks,
// and in base64 of base64; and in mixtures of these. A client ID is also found
// without its hyphens, and a token without its signature.
//
// Nothing else is looked for: neither a secret that is encrypted, compressed,
// reversed, split up or encoded in another way (hex, base32, quoted-printable,
// octal),
// nor other secrets that the API may send. An API that wants to get the token
// past the tool can do so. But it has the token already.
//
// All else in an answer is returned unchanged. It can steer the model (prompt
// injection), and the agent has to deal with that.
//
// # Errors
//
// Agent frameworks end a run when a tool returns an error, so [Tool.Call]
// returns one only for what a model can't mend: the end of its context, and an
// AuthSec configuration that the server refuses. All else comes as text that
// begins with "Error:" and says what to do. [Tool.Fetch] returns an [*Error]
// for it, with a [Kind] that programs can tell.
package fetchtool
