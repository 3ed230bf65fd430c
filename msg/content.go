package msg

import (
	"strings"
	"unicode/utf8"
)

// content is what opaque bytes turn out to be.
type content uint8

const (
	contentText content = iota
	contentJSON
	contentBinary
)

// classify decides what FormBytes are. The declared content type comes first,
// then the publisher's word that it is text (then "42" is a string), and only
// with neither are the bytes looked at. A declaration that the bytes do not keep
// falls back: JSON that is not valid or that clients choke on to text, text
// that is not UTF-8 to binary. Text that begins with U+0000 is binary, because in
// WAMP's JSON it would be read as such. json is the compact value.
func (p *Payload) classify() (c content, json []byte) {
	if len(p.Data) == 0 {
		return contentText, nil
	}
	declared := declaredContent(p.ContentType, p.Text)
	if declared == contentJSON || declared == contentSniff && looksLikeJSON(p.Data) {
		if v, ok := compactJSON(p.Data); ok {
			return contentJSON, v
		}
	}
	if declared == contentBinary && !p.Text || p.Data[0] == 0 || !utf8.Valid(p.Data) {
		return contentBinary, nil
	}
	return contentText, nil
}

// contentSniff: nothing was declared.
const contentSniff content = 255

// declaredContent reads a MIME type (RFC 9110 section 8.3.1); types nobody has
// heard of are text if the bytes are.
func declaredContent(contentType string, text bool) content {
	mime, params, _ := strings.Cut(contentType, ";")
	mime = strings.ToLower(strings.TrimSpace(mime)) // allocates only for upper case
	kind, sub, _ := strings.Cut(mime, "/")
	switch {
	case mime == "" && text:
		return contentText
	case mime == "":
		return contentSniff
	case mime == "application/json" || mime == "text/json" || mime == "json" || strings.HasSuffix(sub, "+json"):
		return contentJSON
	case strings.HasSuffix(sub, "+xml"):
		return contentText
	case kind == "image" || kind == "audio" || kind == "video" || kind == "font" || binaryType(sub):
		return contentBinary
	case foreignCharset(params):
		return contentBinary
	}
	return contentText
}

func binaryType(sub string) bool {
	if i := strings.LastIndexByte(sub, '+'); i >= 0 {
		sub = sub[i+1:]
	}
	switch strings.TrimPrefix(sub, "x-") {
	case "octet-stream", "cbor", "cbor-seq", "msgpack", "vnd.msgpack", "protobuf", "vnd.google.protobuf",
		"avro", "bson", "zip", "gzip", "zstd", "pdf", "wasm":
		return true
	}
	return false
}

// foreignCharset: bytes in another encoding can be valid UTF-8 by accident.
func foreignCharset(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "charset") {
			continue
		}
		switch strings.ToLower(strings.Trim(strings.TrimSpace(value), `"`)) {
		case "utf-8", "utf8", "us-ascii", "ascii":
			return false
		}
		return true
	}
	return false
}

// looksLikeJSON rules out most text by its first character.
func looksLikeJSON(b []byte) bool {
	for _, c := range b {
		if !isJSONSpace(c) {
			return strings.IndexByte(`{["-0123456789tfn`, c) >= 0
		}
	}
	return false
}

// compactJSON checks b and drops the whitespace between its tokens; without any
// it returns b itself.
func compactJSON(b []byte) ([]byte, bool) {
	s := scanner{codec: CodecJSON, skim: true, b: b, limit: maxDepth}
	if s.value(nil, 0) != nil || s.end() != nil {
		return nil, false
	}
	if s.spaces {
		return compact(b), true
	}
	return b, true
}
