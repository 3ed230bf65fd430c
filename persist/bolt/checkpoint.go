package bolt

import (
	"encoding/binary"

	"go.etcd.io/bbolt"

	"parley/persist"
)

// maxForget bounds the controls that one checkpoint deletes; the rest wait for
// the next and are not shown in between.
const maxForget = 4096

// checkpointed is what a checkpoint changes in a namespace, to be taken over in
// memory after the commit.
type checkpointed struct {
	info     info
	controls uint64
}

// applyPuts writes one checkpoint: its table entries, its positions, and the
// deletion of the controls it makes superfluous. It returns where in the arena
// its entries end.
func (p *plan) applyPuts(tx *bbolt.Tx, c *persist.Checkpoint, puts []plannedPut, at int) (int, error) {
	n := p.find(c.Namespace)
	next := n.staged.after
	if next == nil {
		next = &checkpointed{info: n.info, controls: n.controls}
		n.staged.after = next
	}
	table := tx.Bucket(tableName(n.id))
	for _, e := range puts {
		key, value := p.arena[at:e.keyEnd], p.arena[e.keyEnd:e.end]
		at = e.end
		had := table.Get(key) != nil
		switch {
		case len(value) == 0:
			if err := table.Delete(key); err != nil {
				return at, err
			}
			if had {
				next.info.table--
			}
		default:
			if err := table.Put(key, value[:len(value):len(value)]); err != nil {
				return at, err
			}
			if !had {
				next.info.table++
			}
		}
	}
	next.info.at = max(next.info.at, min(c.At, n.staged.head))
	next.info.atControl = max(next.info.atControl, min(c.AtControl, n.staged.seq))
	if err := next.forget(tx); err != nil {
		return at, err
	}
	return at, writeInfo(tx, n.name, &next.info)
}

// forget deletes controls that the table includes.
func (c *checkpointed) forget(tx *bbolt.Tx) error {
	b := tx.Bucket(controlsName(c.info.id))
	var key [8]byte
	for end := c.controls + maxForget; c.controls < end && c.controls <= c.info.atControl; c.controls++ {
		binary.BigEndian.PutUint64(key[:], c.controls)
		if err := b.Delete(key[:]); err != nil {
			return err
		}
	}
	return nil
}

// find returns a namespace that the batch has touched.
func (p *plan) find(namespace string) *space {
	for _, n := range p.touched {
		if n.name == namespace {
			return n
		}
	}
	return nil
}

func writeInfo(tx *bbolt.Tx, namespace string, i *info) error {
	return tx.Bucket(infoName(namespace)).Put([]byte(keyInfo), i.encode(namespace))
}
