"""Documents that several people edit at once: detected by cause, resolved as asked, never lost. Pure.

Owns: everything that is decided about a document.   Not: loading, storing, telling (operations).
Rule: no clock, no ids, no I/O; whoever calls hands in what was read, and stores what is returned in one commit.

The way of an edit, with the file that each step stands in:

    read_edit(changes, deletes) → Edit                             edit.py      limits, paths, values
    choose(asked, head, newest_own=…, newest_seen=…) → Base        base.py      which version it was made on
    check_editable(state, paths, policy, user_id=…, lease=…)       states.py    locks, the lease of a correction (lease.py)
    B = authors_view(document_at_base, own_commits)                base.py      (and edit.put_seen, where Base.with_seen)
    I = put_on(B, edit)                                            edit.py      judged in the author's view
    resolve(B, C, I, policy, strategy) → Resolution                resolve.py   applied, merged, noop, parked, rejected; ops, conflicts
    record(conflict, …) → ConflictRecord                           conflicts.py the conflict as it is stored and shown
    refresh(open_records, document, …) → Refreshed                 manual.py    what the commit makes of records that were open before
    seal(header, body, salt=…, prev_hash=…) → Entry                history.py   the entry of the new version; verify, erase, replay

A decision: `decisions_for` or the caller's own → `check_decisions` → `settle` (manual.py), then `refresh` for those left open.
A transition: `check_transition` (states.py) with `content_hash(policy.scope(document))` (canonical.py).
A replica: `apply(document, ops)` (ops.py). Policies: `policy.PLAIN`, `policy.SIGNING`, `policy_file.read_policy`.
Whatever is turned away raises `refusals.Refused` with a code.
"""
