package wamp

import (
	"parley/msg"
)

// request reads the elements of one message in place. The first error sticks.
type request struct {
	w   wire
	el  [][]byte
	err error
}

func (m *request) fail() { m.err = errType }

// at returns element i, nil if it is missing.
func (m *request) at(i int) []byte {
	if i >= len(m.el) {
		return nil
	}
	return m.el[i]
}

// id reads an identifier that has to be there: 1 to 2^53.
func (m *request) id(i int) uint64 {
	if v := m.at(i); v != nil {
		if n, ok := m.w.id(v); ok && n > 0 {
			return n
		}
	}
	m.fail()
	return 0
}

func (m *request) str(i int) string {
	if v := m.at(i); v != nil {
		if s, ok := m.w.str(v); ok {
			return s
		}
	}
	m.fail()
	return ""
}

// dict calls each with the pairs of a dictionary that has to be there. An error
// of each is one of the message.
func (m *request) dict(i int, each func(key string, v []byte) error) {
	v := m.at(i)
	if v == nil {
		m.fail()
		return
	}
	if _, err := m.w.dict(v, maxDepth, func(key string, v []byte) error {
		if m.w.shape(v) == shapeNull { // what JavaScript sends for an option it leaves undefined
			return nil
		}
		return each(key, v)
	}); err != nil {
		m.err = err
	}
}

// payload copies the arguments: elements i (a list) and i+1 (a dictionary), both
// optional, null being as good as missing.
func (m *request) payload(i int) msg.Payload {
	args, kwargs := m.argument(i, shapeList), m.argument(i+1, shapeDict)
	e := encoder{codec: m.w.codec(), b: make([]byte, 0, len(args)+len(kwargs)+4)}
	n := 1
	if kwargs != nil {
		if _, err := m.w.dict(kwargs, maxDepth, func(string, []byte) error { return nil }); err != nil {
			m.err = err
		}
		n = 2
	}
	e.list(n)
	if args != nil {
		e.raw(args)
	} else {
		e.list(0)
		e.endList()
	}
	e.raw(kwargs)
	e.endList()
	return msg.Payload{Form: msg.FormArgs, Codec: e.codec, Data: e.b}
}

// ids reads a list of identifiers, which may be missing.
func (m *request) ids(i int) ([]uint64, error) {
	v := m.argument(i, shapeList)
	if m.err != nil || v == nil {
		return nil, m.err
	}
	return ids(m.w, v)
}

func (m *request) argument(i int, want shape) []byte {
	v := m.at(i)
	if v == nil {
		return nil
	}
	switch m.w.shape(v) {
	case want:
		return v
	case shapeNull:
		return nil
	}
	m.fail()
	return nil
}

// flag, word, number: options of one kind; anything else is an error.
func flag(w wire, v []byte, into *bool) error {
	t, ok := w.boolean(v)
	if !ok {
		return errType
	}
	*into = t
	return nil
}

func word(w wire, v []byte, into *string) error {
	s, ok := w.str(v)
	if !ok {
		return errType
	}
	*into = s
	return nil
}

func number(w wire, v []byte, into *uint64) error {
	n, ok := w.id(v)
	if !ok {
		return errType
	}
	*into = n
	return nil
}
