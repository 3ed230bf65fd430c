package history

// Compact returns a shorter history that has the same meaning for what comes
// after it: sessions, subscriptions, wills and the last retained values stay, other
// messages become the positions that were reached. It is for a history that ends
// with Quiesced and that Check has found without a fault; events is not changed.
func Compact(events []Event) []Event {
	wills := map[ID]bool{}
	values := map[string]ID{}             // last acknowledged retained value, by topic
	last := map[string]uint64{}           // by publisher
	seen := map[streamKey]map[group]int{} // event with the highest sequence
	high := map[streamKey]int{}           // event with the highest offset
	kept := map[ID]bool{}
	for i := range events {
		e := &events[i]
		switch e.Kind {
		case Connect:
			if e.Will != nil {
				wills[e.Will.Message] = true
			}
		case Publish:
			last[e.Message.Publisher] = max(last[e.Message.Publisher], e.Message.Seq)
			if e.Retain {
				kept[e.Message] = true
			}
		case Published:
			if kept[e.Message] {
				values[e.Topic] = e.Message
			}
		case Settled, Deliver:
			if e.Client == "" {
				last[e.Message.Publisher] = max(last[e.Message.Publisher], e.Message.Seq)
				continue
			}
			if e.Retained || e.Replayed || wills[e.Message] {
				continue
			}
			note(seen, high, events, i)
		}
	}
	current := map[ID]bool{}
	for _, id := range values {
		current[id] = true
	}
	var out []Event
	for i := range events {
		e := events[i]
		switch e.Kind {
		case Settled, Ack, Again, Release, Gap, Quiesced, Unsubscribed:
			continue
		case Publish, Published, Refused:
			if !current[e.Message] {
				continue
			}
		case Deliver:
			if !wills[e.Message] || e.Retained {
				continue
			}
		case Subscribe:
			e.Retain = false // was judged
		}
		out = append(out, e)
	}
	for name, seq := range last {
		out = append(out, Event{Kind: Settled, Message: ID{Publisher: name, Seq: seq}})
	}
	out = append(out, positions(events, seen, high)...)
	return out
}

func note(seen map[streamKey]map[group]int, high map[streamKey]int, events []Event, i int) {
	e := &events[i]
	k := streamKey{e.Client, e.Filter}
	if seen[k] == nil {
		seen[k] = map[group]int{}
	}
	// Whether sequences may be compared over connections of the publisher depends
	// on an event that goes away: the position of each attempt is enough then.
	g := group{publisher: e.Message.Publisher, attempt: e.Message.Attempt}
	if at, ok := seen[k][g]; !ok || e.Message.Seq > events[at].Message.Seq {
		seen[k][g] = i
	}
	if at, ok := high[k]; !ok || e.Offset > events[at].Offset {
		high[k] = i
	}
}

func positions(events []Event, seen map[streamKey]map[group]int, high map[streamKey]int) []Event {
	var out []Event
	settled := func(i int) {
		e := events[i]
		out = append(out, Event{At: e.At, Kind: Settled, Client: e.Client, Conn: e.Conn, Filter: e.Filter, Message: e.Message, Offset: e.Offset})
	}
	for k, groups := range seen {
		for _, i := range groups {
			settled(i)
		}
		settled(high[k])
	}
	return out
}
