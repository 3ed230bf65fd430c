package msg

// ArgsPayload makes a payload of WAMP arguments encoded in c: args an array (nil:
// none), kwargs an object or map (nil: none). They are copied; nothing is checked,
// the views take whatever is there.
func ArgsPayload(c Codec, args, kwargs []byte) Payload {
	if len(args) == 0 {
		args = emptyArray(c)
	}
	b := make([]byte, 0, len(args)+len(kwargs)+3)
	n := uint64(1)
	if len(kwargs) > 0 {
		n = 2
	}
	if c == CodecJSON {
		b = append(append(b, '['), args...)
		if n == 2 {
			b = append(append(b, ','), kwargs...)
		}
		b = append(b, ']')
	} else {
		b = appendContainer(b, c, false, n)
		b = append(append(b, args...), kwargs...)
	}
	return Payload{Form: FormArgs, Codec: c, Data: b}
}

func emptyArray(c Codec) []byte {
	if c == CodecJSON {
		return []byte("[]")
	}
	return appendContainer(nil, c, false, 0)
}

// argsParts is a FormArgs payload taken apart; the slices are parts of it.
type argsParts struct {
	args, kwargs []byte // kwargs nil if there are none or no pairs
	first        []byte // the first positional value
	n            int    // positional values
	deepest      int    // nesting, args and kwargs themselves counted
	altered      bool
	spaces       bool // JSON: needs compaction
}

// one tells whether there is just one positional value.
func (a *argsParts) one() bool { return a.n == 1 && a.kwargs == nil }

// splitArgs checks and takes apart [args] or [args, kwargs].
func splitArgs(p *Payload) (argsParts, error) {
	s := scanner{codec: p.Codec, skim: true, b: p.Data, limit: maxDepth + 1}
	var a argsParts
	var outer token
	if err := s.next(&outer); err != nil {
		return a, err
	}
	if outer.kind != tokArray {
		return a, errSyntax
	}
	for n := uint64(0); ; n++ {
		more, err := s.more(&outer, n)
		if err != nil {
			return a, err
		}
		if !more {
			break
		}
		from := s.start()
		switch n {
		case 0:
			err = a.readArgs(&s)
			a.args = s.b[from:s.i]
		case 1:
			var pairs uint64
			if pairs, err = readKwargs(&s); pairs > 0 {
				a.kwargs = s.b[from:s.i]
			}
		default:
			err = errSyntax
		}
		if err != nil {
			return a, err
		}
	}
	a.deepest, a.altered, a.spaces = s.deepest, s.altered, s.spaces
	return a, s.end()
}

func (a *argsParts) readArgs(s *scanner) error {
	var t token
	if err := s.next(&t); err != nil {
		return err
	}
	if t.kind == tokNull {
		return nil
	}
	if t.kind != tokArray {
		return errSyntax
	}
	s.deepest = max(s.deepest, 1)
	for n := uint64(0); ; n++ {
		more, err := s.more(&t, n)
		if err != nil || !more {
			return err
		}
		from := s.start()
		if err := s.value(nil, 1); err != nil {
			return err
		}
		if a.n++; n == 0 {
			a.first = s.b[from:s.i]
		}
	}
}

func readKwargs(s *scanner) (pairs uint64, err error) {
	var t token
	if err := s.next(&t); err != nil {
		return 0, err
	}
	if t.kind == tokNull {
		return 0, nil
	}
	if t.kind != tokMap {
		return 0, errSyntax
	}
	s.deepest = max(s.deepest, 1)
	for n := uint64(0); ; n++ {
		more, err := s.more(&t, n)
		if err != nil || !more {
			return n, err
		}
		if err := s.key(nil); err != nil {
			return n, err
		}
		if err := s.value(nil, 1); err != nil {
			return n, err
		}
	}
}

// transcode writes the one value in b, encoded in from, in to.
func transcode(from, to Codec, b []byte) ([]byte, error) {
	s := scanner{codec: from, b: b, limit: maxDepth + 1}
	e := encoder{codec: to, b: make([]byte, 0, len(b)+len(b)/4+16)}
	if err := s.value(&e, 0); err != nil {
		return nil, err
	}
	return e.b, s.end()
}
