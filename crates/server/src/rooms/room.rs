//! One room: who is in it, and what they have to be told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::encode;
use super::member::{Member, Presence, View};
use super::patch;
use crate::app::{Frame, SessionKey};

/// A room's name. The type is empty where a client gives none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct RoomKey {
    pub(super) kind: Arc<str>,
    pub(super) id: Arc<str>,
}

/// One room.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) key: RoomKey,
    pub(super) members: BTreeMap<SessionKey, Member>,
    /// Members whose presence changed since the room was last told.
    changed: BTreeSet<SessionKey>,
    /// Peers that the room was told of and that have left since.
    gone: Vec<Arc<str>>,
    /// What members said of whom the others have not been told yet; it must not come before them.
    pub(super) waiting: VecDeque<(SessionKey, Frame)>,
    /// When the room has rested enough.
    pub(super) rested_at: Duration,
    /// Whether telling it last cost next to nothing.
    pub(super) is_cheap: bool,
    /// When it is to be told, if there is something to tell.
    pub(super) due_at: Option<Duration>,
}

/// What telling a room cost.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Cost {
    pub(super) bytes: usize,
    pub(super) messages: usize,
}

impl Room {
    pub(super) fn new(key: RoomKey) -> Self {
        Self {
            key,
            members: BTreeMap::new(),
            changed: BTreeSet::new(),
            gone: Vec::new(),
            waiting: VecDeque::new(),
            rested_at: Duration::ZERO,
            is_cheap: true,
            due_at: None,
        }
    }

    pub(super) fn enter(&mut self, session: SessionKey, member: Member) {
        self.changed.insert(session);
        self.members.insert(session, member);
    }

    /// Takes a member out; gives the bytes that its presence took.
    pub(super) fn leave(&mut self, session: SessionKey) -> usize {
        let Some(member) = self.members.remove(&session) else { return 0 };
        self.changed.remove(&session);
        self.waiting.retain(|(sender, _)| *sender != session);
        if member.told.is_some() {
            self.gone.push(member.peer);
        }
        member.shown.text.len()
    }

    /// Changes what a member shows; whether that is anything new.
    pub(super) fn show(&mut self, session: SessionKey, shown: Presence) -> bool {
        let Some(member) = self.members.get_mut(&session) else { return false };
        if member.shown.text == shown.text {
            return false;
        }
        member.shown = shown;
        self.changed.insert(session);
        true
    }

    /// Tells every member whose reader is not slow what it does not know yet: all edits are made once, and
    /// so is the whole list for those who need it.
    pub(super) fn tell(
        &mut self,
        is_paused: impl Fn(SessionKey) -> bool,
        mut send: impl FnMut(SessionKey, Frame),
    ) -> Cost {
        let mut cost = Cost::default();
        let has_news = !self.changed.is_empty() || !self.gone.is_empty();
        let edits = self.take_edits();
        let mut patch: Option<Frame> = None;
        let mut all: Option<Frame> = None;
        let mut receivers = Vec::with_capacity(self.members.len());
        for (session, member) in &mut self.members {
            if is_paused(*session) {
                if has_news {
                    member.view = View::Stale;
                }
                continue;
            }
            let needs_all = match member.view {
                View::Stale => true,
                View::Current => !member.takes_patches && !edits.is_empty(),
            };
            member.view = View::Current;
            if needs_all || !edits.is_empty() {
                receivers.push((*session, needs_all));
            }
        }
        for (session, needs_all) in receivers {
            let frame = if needs_all {
                all.get_or_insert_with(|| self.encode_all())
            } else {
                patch.get_or_insert_with(|| encode::patch_presence(&self.key.id, &edits))
            };
            cost.bytes += frame.len();
            cost.messages += 1;
            send(session, frame.clone());
        }
        cost
    }

    /// What changed since the room was last told, as edits; from now on it counts as told.
    fn take_edits(&mut self) -> String {
        let mut edits = String::new();
        let mut path = String::new();
        for peer in self.gone.drain(..) {
            path.clear();
            encode::push_text(&mut path, &peer);
            patch::push_edit(&mut edits, &path, "-", None);
        }
        for session in std::mem::take(&mut self.changed) {
            let Some(member) = self.members.get_mut(&session) else { continue };
            match member.told.replace(member.shown.clone()) {
                Some(told) => patch::push_edits(
                    &mut edits,
                    &member.peer,
                    &told.data,
                    &member.shown.data,
                    &member.shown.text,
                ),
                None => {
                    path.clear();
                    encode::push_text(&mut path, &member.peer);
                    let mut entry = String::new();
                    let (user, data) = (&member.user_text, &member.shown.text);
                    encode::push_entry(&mut entry, &member.peer, user, data);
                    patch::push_edit(&mut edits, &path, "+", Some(&entry));
                }
            }
        }
        edits
    }

    fn encode_all(&self) -> Frame {
        let size = |m: &Member| m.peer.len() * 2 + m.user_text.len() + m.shown.text.len() + 40;
        let size = self.members.values().map(size).sum();
        let members = self.members.values().map(|m| (&*m.peer, &*m.user_text, &*m.shown.text));
        encode::refresh_presence(&self.key.id, members, size)
    }
}
