package gateway

import (
	"bytes"
	"compress/flate"
)

// compressFrom is the message size from which compression pays.
const compressFrom = 512

// deflater compresses single messages without context takeover (RFC 7692 section
// 7.2.1) in a bounded number of compressors, about 1.2 MB each, made when needed.
type deflater struct {
	idle chan *compressor // a nil one stands for one not made yet
}

type compressor struct {
	w   *flate.Writer
	out bytes.Buffer
}

func newDeflater(jobs int) *deflater {
	d := &deflater{idle: make(chan *compressor, jobs)}
	for range jobs {
		d.idle <- nil
	}
	return d
}

// start compresses data. nil: all compressors are busy, or it would not get
// smaller; send data as it is. The result is valid until end.
func (d *deflater) start(data []byte) *compressor {
	var z *compressor
	select {
	case z = <-d.idle:
	default:
		return nil
	}
	if z == nil {
		z = new(compressor)
		z.w, _ = flate.NewWriter(&z.out, flate.BestSpeed)
	}
	z.out.Reset()
	z.w.Reset(&z.out)
	z.w.Write(data) // a bytes.Buffer does not fail
	z.w.Flush()
	if z.out.Len() > 4 {
		z.out.Truncate(z.out.Len() - 4) // the empty block's 00 00 FF FF stays away
	}
	if z.out.Len() >= len(data) {
		d.end(z)
		return nil
	}
	return z
}

func (d *deflater) end(z *compressor) {
	if z.out.Cap() > bigOut {
		z.out = bytes.Buffer{}
	}
	d.idle <- z
}
