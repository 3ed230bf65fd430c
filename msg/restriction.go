package msg

import "slices"

// Allows tells whether a session of a user in a role may receive the message.
func (r *Restriction) Allows(session uint64, user, role string) bool {
	return !slices.Contains(r.ExcludeSessions, session) && !slices.Contains(r.ExcludeUsers, user) && !slices.Contains(r.ExcludeRoles, role) &&
		(r.Sessions == nil || slices.Contains(r.Sessions, session)) &&
		(r.Users == nil || slices.Contains(r.Users, user)) &&
		(r.Roles == nil || slices.Contains(r.Roles, role))
}

// BySession tells whether session ids are named: such a message reaches only
// sessions that live at its commit.
func (r *Restriction) BySession() bool {
	return r.Sessions != nil || len(r.ExcludeSessions) > 0
}
