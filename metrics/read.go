package metrics

// OpenConnections reads how many connections are open now, by protocol; for
// status pages, not for hot paths: it gathers the whole set.
func (s *Set) OpenConnections() map[string]int {
	open := map[string]int{}
	families, _ := s.reg.Gather() // what failed to gather is not ours
	for _, f := range families {
		if f.GetName() != "parley_connections" {
			continue
		}
		for _, m := range f.GetMetric() {
			if n := int(m.GetGauge().GetValue()); n != 0 && len(m.GetLabel()) == 1 {
				open[m.GetLabel()[0].GetValue()] = n
			}
		}
	}
	return open
}

// Total adds up a counter over all its labels; for status pages.
func (s *Set) Total(name string) int64 {
	total := 0.0
	families, _ := s.reg.Gather()
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				total += m.GetCounter().GetValue()
			}
		}
	}
	return int64(total)
}
