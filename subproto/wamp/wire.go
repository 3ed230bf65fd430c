package wamp

import (
	"errors"
	"fmt"

	"parley/msg"
	"parley/subproto"
)

// maxDepth is how deep values of a message may be nested in each other; a
// deeper message is malformed to us. It bounds the scanners' recursion.
const maxDepth = 128

var (
	errMalformed = errors.New("malformed message")
	errTooDeep   = fmt.Errorf("%w: nested too deeply", errMalformed)
	errTruncated = fmt.Errorf("%w: it ends early", errMalformed)
	errType      = fmt.Errorf("%w: wrong type", errMalformed)
)

// shape is the kind of an encoded value.
type shape uint8

const (
	shapeOther shape = iota // tags, extensions, undefined, simple values
	shapeNull
	shapeBool
	shapeNumber
	shapeText
	shapeBinary
	shapeList
	shapeDict
)

// wire reads one serialization without building values: it checks them and
// cuts them into pieces of the frame. Implementations have no state. A "value"
// is exactly one encoded value, without space around it.
type wire interface {
	codec() msg.Codec
	frame() subproto.Kind
	// size checks the value that b begins with and returns its length. depth is
	// how many levels of nesting it may have.
	size(b []byte, depth int) (int, error)
	// text tells whether the whole frame can be text at all (UTF-8 in JSON).
	check(frame []byte) error
	shape(v []byte) shape
	// list checks the list that b begins with, calls each with its items until
	// that returns an error, and returns the list's length. Space may precede it.
	list(b []byte, depth int, each func(item []byte) error) (int, error)
	// dict does the same with a dictionary, whose keys have to be text.
	dict(b []byte, depth int, each func(key string, item []byte) error) (int, error)
	// The following read one checked value; ok is false if it is another kind.
	str(v []byte) (s string, ok bool)
	bytes(v []byte) (b []byte, ok bool)
	boolean(v []byte) (t, ok bool)
	// id reads a whole number between 0 and 2^53, however it is written.
	id(v []byte) (n uint64, ok bool)
}

// maxID is the greatest identifier (WAMP basic profile, section 2.1.2).
const maxID = 1 << 53

// wireOf maps subprotocols to their serialization.
func wireOf(protocol string) (wire, bool) {
	switch protocol {
	case "wamp.2.json":
		return jsonWire{}, true
	case "wamp.2.msgpack":
		return packWire{}, true
	case "wamp.2.cbor":
		return cborWire{}, true
	}
	return nil, false
}

// maxElements is one more than the longest message has (ERROR: 7). What follows
// is checked and ignored.
const maxElements = 8

// split cuts a whole frame into the elements of its list. What it returns
// points into frame.
func split(w wire, frame []byte, into [][]byte) ([][]byte, error) {
	if err := w.check(frame); err != nil {
		return nil, err
	}
	into = into[:0]
	n, err := w.list(frame, maxDepth, func(item []byte) error {
		if len(into) < maxElements {
			into = append(into, item)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if w.codec() == msg.CodecJSON {
		n += space(frame[n:])
	}
	if n != len(frame) {
		return nil, fmt.Errorf("%w: something follows it", errMalformed)
	}
	return into, nil
}

// texts reads a list of strings.
func texts(w wire, v []byte) ([]string, error) {
	if w.shape(v) != shapeList {
		return nil, errType
	}
	out := []string{}
	_, err := w.list(v, maxDepth, func(item []byte) error {
		s, ok := w.str(item)
		if !ok {
			return errType
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

// ids reads a list of identifiers.
func ids(w wire, v []byte) ([]uint64, error) {
	if w.shape(v) != shapeList {
		return nil, errType
	}
	out := []uint64{}
	_, err := w.list(v, maxDepth, func(item []byte) error {
		n, ok := w.id(item)
		if !ok {
			return errType
		}
		out = append(out, n)
		return nil
	})
	return out, err
}

// wholeFloat is a float as an identifier: JavaScript encoders write large whole
// numbers that way.
func wholeFloat(f float64) (uint64, bool) {
	if f >= 0 && f <= maxID && f == float64(uint64(f)) {
		return uint64(f), true
	}
	return 0, false
}

// entry checks one item of a list, or key and item of a dictionary, that b begins
// with in a binary serialization, hands them to each and returns their length.
func entry(w wire, b []byte, dict bool, depth int, each func(key, item []byte) error) (int, error) {
	var key []byte
	if dict {
		n, err := w.size(b, depth)
		if err != nil {
			return 0, err
		}
		key = b[:n]
	}
	n, err := w.size(b[len(key):], depth)
	if err != nil {
		return 0, err
	}
	end := len(key) + n
	if each != nil {
		err = each(key, b[len(key):end])
	}
	return end, err
}
