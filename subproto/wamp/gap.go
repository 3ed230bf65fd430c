package wamp

import (
	"math/rand/v2"
	"slices"

	"github.com/gammazero/nexus/v3/wamp"

	"parley/msg"
)

// What retention cut from under a session is told to that session alone: as
// events of parley.gap, which is no topic (nothing can be published there), and
// by the procedure parley.gaps.

// maxGaps is how many are remembered for parley.gaps, the newest ones.
const maxGaps = 256

type toldGap struct {
	filter *msg.Filter // nil: not of one filter
	msg.Gap
}

func gapFilter() msg.Filter { return msg.Filter{Pattern: "parley/gap"} }

// gap notes a gap and tells the peer if it has subscribed.
func (h *handler) gap(f *msg.Filter, g *msg.Gap) {
	if len(h.gaps) == maxGaps {
		h.gaps = slices.Delete(h.gaps, 0, 1)
		h.gapsSent = max(0, h.gapsSent-1)
	}
	h.gaps = append(h.gaps, toldGap{f, *g})
	h.sendGaps()
}

// sendGaps sends those that were not sent yet: [EVENT, Subscription|id,
// Publication|id, Details|dict, [], gap|dict].
func (h *handler) sendGaps() {
	if h.gapSub == 0 {
		return
	}
	for ; h.gapsSent < len(h.gaps); h.gapsSent++ {
		e := h.begin(typeEvent, 6)
		e.uint(h.gapSub)
		e.uint(1 + rand.Uint64N(maxID-1)) // of no message
		e.dict(0)
		e.endDict()
		e.list(0)
		e.endList()
		e.any(h.gaps[h.gapsSent].dict())
		h.send()
	}
}

func (g *toldGap) dict() wamp.Dict {
	d := wamp.Dict{
		"first": uint64(g.First), "last": uint64(g.Last), "count": g.Count, "reason": g.Reason,
	}
	if g.filter != nil {
		d["filter"] = filterDict(*g.filter)
	}
	return d
}

// subscribeGaps answers SUBSCRIBE to parley.gap. What was told before comes at
// once: a resumed session hears of it before a client can subscribe.
func (h *handler) subscribeGaps(request uint64) {
	if h.gapSub == 0 {
		h.gapSub = h.subscriptionID(gapFilter())
	}
	h.reply(typeSubscribed, request, h.gapSub)
	h.sendGaps()
}

// onGaps answers parley.gaps() with the list of them, oldest first.
func (h *handler) onGaps(call uint64) {
	list := wamp.List{}
	for i := range h.gaps {
		list = append(list, h.gaps[i].dict())
	}
	e := h.result(call, 1)
	e.list(1)
	e.any(list)
	e.endList()
	h.send()
}
