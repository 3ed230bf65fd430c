package hub

import (
	"cmp"
	"slices"
	"strings"

	"parley/msg"
	"parley/persist"
)

// checkpointLag is how many offsets the checkpoint may be behind before one is
// written although nothing but the position changed: a start replays them.
const checkpointLag = 10_000

// checkpointPuts is how much one commit of a checkpoint writes: the keys are
// spread over the table, and publishes wait meanwhile.
const checkpointPuts = 1000

// Every so many checkpoints the positions of durable sessions are saved that have
// moved by more than this without anything being delivered.
const (
	sweepEvery = 30
	quietLag   = 1 << 16
)

// checkpoint writes what changed in the namespaces' tables in commits of its
// own. last: also write a mere change of position.
func (c *committer) checkpoint(last bool) {
	c.checkpoints++
	for _, ns := range c.hub.spaces {
		if c.checkpoints%sweepEvery == 0 {
			ns.sweepQuiet()
		}
		cp, floors, ok := ns.takeCheckpoint(last)
		if !ok {
			continue
		}
		if err := c.writeCheckpoint(ns, cp); err != nil {
			ns.takeBack(cp)
			c.classify(err)
			continue
		}
		for _, f := range floors {
			f.of.setFloor(f.floor)
		}
	}
}

// writeCheckpoint writes it in pieces; only the last one moves the position, so
// a crash in between leaves the controls to be applied once more. What waits to
// be published is committed in between.
func (c *committer) writeCheckpoint(ns *namespace, cp persist.Checkpoint) error {
	for {
		piece := cp
		final := len(cp.Puts) <= checkpointPuts
		if !final {
			piece.Puts, cp.Puts = cp.Puts[:checkpointPuts], cp.Puts[checkpointPuts:]
			ns.mu.Lock()
			piece.At, piece.AtControl = ns.at, ns.atControl
			ns.mu.Unlock()
		}
		var failed error
		c.hub.store.Commit(&persist.Batch{Checkpoints: []persist.Checkpoint{piece}}, func(err error) { failed = err })
		if failed != nil {
			return failed
		}
		if final {
			ns.mu.Lock()
			ns.at, ns.atControl = cp.At, cp.AtControl
			ns.mu.Unlock()
			return nil
		}
		c.round()
	}
}

// takeCheckpoint collects what has changed. The sessions are taken after the
// positions, so their state may be newer than these, which does no harm: control
// records are idempotent. They are taken after the groups: a delivery that becomes
// its member's own meanwhile is found with both, not with neither.
func (ns *namespace) takeCheckpoint(last bool) (cp persist.Checkpoint, floors []floorOf, ok bool) {
	ns.mu.Lock()
	ns.stageKeys()
	names := ns.touched.take()
	groups := ns.touchedGroups.take()
	behind := ns.head - ns.at
	if len(ns.dirty) == 0 && len(names) == 0 && len(groups) == 0 && behind < checkpointLag && (!last || behind == 0) {
		ns.mu.Unlock()
		return cp, nil, false
	}
	cp = persist.Checkpoint{Namespace: ns.name, At: ns.head, AtControl: ns.control}
	for key, value := range ns.dirty {
		cp.Puts = append(cp.Puts, persist.Put{Key: key, Value: value})
	}
	ns.dirty = map[string][]byte{}
	ns.mu.Unlock()
	put := func(key string, value []byte, floor floorOf) {
		cp.Puts = append(cp.Puts, persist.Put{Key: key, Value: value})
		if value != nil {
			floors = append(floors, floor)
		}
	}
	for _, key := range groups {
		value, floor := ns.savedGroup(key)
		put(groupPrefix+key, value, floor)
	}
	for _, name := range names {
		value, floor := ns.saved(name, cp.AtControl)
		put(sessionPrefix+name, value, floor)
	}
	slices.SortFunc(cp.Puts, func(a, b persist.Put) int { return cmp.Compare(a.Key, b.Key) })
	return cp, floors, true
}

// takeBack returns the changes for the next try.
func (ns *namespace) takeBack(cp persist.Checkpoint) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	for _, p := range cp.Puts {
		if name, ok := strings.CutPrefix(p.Key, sessionPrefix); ok {
			ns.touched.add(name)
		} else if key, ok := strings.CutPrefix(p.Key, groupPrefix); ok {
			ns.touchedGroups.add(key)
		} else if _, newer := ns.dirty[p.Key]; !newer {
			ns.dirty[p.Key] = p.Value
		}
	}
}

// sweepQuiet has the positions of quiet sessions saved, so that a start need not
// read the log again from where they last heard something, and the log may be
// cut there.
func (ns *namespace) sweepQuiet() {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	for _, s := range ns.clients {
		handled := msg.Offset(s.shard.index(ns).handled.Load())
		s.mu.Lock()
		if s.durable && !s.dirty && s.next(handled) > s.saved+quietLag {
			s.touch()
		}
		s.mu.Unlock()
	}
}

// noteControls remembers committed control records for the next checkpoint.
func (c *committer) noteControls() {
	for i := range c.batch.Controls {
		ctl := &c.batch.Controls[i]
		ns := c.hub.spaces[ctl.Namespace]
		ns.mu.Lock()
		ns.control = max(ns.control, ctl.Seq)
		if ctl.Kind == controlWill {
			ns.dirty[willPrefix+ctl.Key] = ctl.Value
		} else {
			ns.touched.add(ctl.Key)
		}
		ns.mu.Unlock()
	}
}
