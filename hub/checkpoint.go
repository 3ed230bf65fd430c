package hub

import (
	"maps"
	"slices"

	"parley/persist"
)

// checkpointLag is how many offsets the checkpoint may be behind before one is
// written although nothing but the position changed: a start replays them.
const checkpointLag = 10_000

// checkpoint writes what changed in the namespaces' tables in a commit of its
// own. last: also write a mere change of position.
func (c *committer) checkpoint(last bool) {
	for _, ns := range c.hub.spaces {
		cp, ok := ns.takeCheckpoint(last)
		if !ok {
			continue
		}
		var failed error
		c.hub.store.Commit(&persist.Batch{Checkpoints: []persist.Checkpoint{cp}}, func(err error) { failed = err })
		ns.checkpointed(cp, failed)
		if failed != nil {
			c.classify(failed)
		}
	}
}

func (ns *namespace) takeCheckpoint(last bool) (persist.Checkpoint, bool) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.stageKeys()
	behind := ns.head - ns.at
	if len(ns.dirty) == 0 && behind < checkpointLag && (!last || behind == 0) {
		return persist.Checkpoint{}, false
	}
	cp := persist.Checkpoint{Namespace: ns.name, At: ns.head, AtControl: ns.control}
	for _, key := range slices.Sorted(maps.Keys(ns.dirty)) {
		cp.Puts = append(cp.Puts, persist.Put{Key: key, Value: ns.dirty[key]})
	}
	ns.dirty = map[string][]byte{}
	return cp, true
}

// checkpointed notes the position, or takes the changes back for the next try.
func (ns *namespace) checkpointed(cp persist.Checkpoint, err error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if err == nil {
		ns.at = cp.At
		return
	}
	for _, p := range cp.Puts {
		if _, newer := ns.dirty[p.Key]; !newer {
			ns.dirty[p.Key] = p.Value
		}
	}
}

// noteControls remembers committed control records for the next checkpoint.
func (c *committer) noteControls() {
	for i := range c.batch.Controls {
		ctl := &c.batch.Controls[i]
		ns := c.hub.spaces[ctl.Namespace]
		ns.mu.Lock()
		ns.control = max(ns.control, ctl.Seq)
		ns.dirty[willPrefix+ctl.Key] = ctl.Value
		ns.mu.Unlock()
	}
}
