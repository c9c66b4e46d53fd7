//! All rooms of an app.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde_json::Value as Json;
use tricedb_protocol::{
    ClientBroadcast, ErrorBody, JoinRoom, LeaveRoom, PresenceData, SetPresence,
};

use super::encode;
use super::limits::RoomLimits;
pub(crate) use super::member::Entrant;
use super::member::{Member, Presence, View};
use super::policy::{AllowAll, RoomAction, RoomPolicy, RoomRequest};
use super::room::{Room, RoomKey};
use crate::app::{Frame, SessionKey};

/// A room within its app; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct RoomNo(u64);

/// A session that is in rooms.
#[derive(Debug, Default)]
struct Visitor {
    /// By room id.
    rooms: BTreeMap<Arc<str>, RoomNo>,
    /// Its reader is slow: it is told nothing for now.
    is_paused: bool,
    /// What others told it meanwhile.
    waiting: VecDeque<Frame>,
    waiting_bytes: usize,
}

/// All rooms of an app. Empty again after every member has left.
#[derive(Debug)]
pub(crate) struct Rooms {
    limits: RoomLimits,
    policy: Box<dyn RoomPolicy>,
    rooms: FxHashMap<RoomNo, Room>,
    by_key: FxHashMap<RoomKey, RoomNo>,
    last_room: u64,
    visitors: FxHashMap<SessionKey, Visitor>,
    /// Rooms that have something to tell, by when they are to.
    due: BTreeSet<(Duration, RoomNo)>,
    presence_bytes: usize,
    dropped: u64,
    outputs: VecDeque<(SessionKey, Frame)>,
}

/// Whether a room may have to rest before it is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// Somebody waits for a first answer.
    Prompt,
    Paced,
}

impl Rooms {
    pub(crate) fn new(limits: RoomLimits) -> Self {
        Self {
            limits,
            policy: Box::new(AllowAll),
            rooms: FxHashMap::default(),
            by_key: FxHashMap::default(),
            last_room: 0,
            visitors: FxHashMap::default(),
            due: BTreeSet::new(),
            presence_bytes: 0,
            dropped: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Lets somebody else decide who may do what.
    pub(crate) fn set_policy(&mut self, policy: Box<dyn RoomPolicy>) {
        self.policy = policy;
    }

    /// The next frame to send, if any.
    pub(crate) fn poll(&mut self) -> Option<(SessionKey, Frame)> {
        self.outputs.pop_front()
    }

    /// How many messages of topics slow readers have missed.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Number of rooms that somebody is in.
    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Takes a session into a room, or finds it there. The answer comes at once, the list of those present
    /// with the next [`Self::flush`].
    pub(crate) fn join(&mut self, entrant: &Entrant, join: &JoinRoom) -> Result<(), ErrorBody> {
        let session = entrant.session;
        let kind = join.room_type.as_deref().unwrap_or_default();
        if !self.is_in(session, kind, &join.room_id)? {
            self.check_name("id", &join.room_id)?;
            self.check_name("type", kind)?;
            self.policy.check(&RoomRequest {
                room_type: kind,
                room_id: &join.room_id,
                user: entrant.user.as_deref(),
                is_admin: entrant.is_admin,
                action: RoomAction::Join(&join.data),
            })?;
            let shown = self.presence(&join.data, 0)?;
            self.enter(entrant, kind, &join.room_id, shown)?;
        }
        let answer = encode::room_ok("join-room-ok", &join.room_id, join.client_event_id.as_ref());
        self.outputs.push_back((session, answer));
        Ok(())
    }

    /// Whether a session is in this very room. In another of the same id it must not enter: later messages
    /// could not tell the two apart.
    fn is_in(&self, session: SessionKey, kind: &str, id: &str) -> Result<bool, ErrorBody> {
        match self.find(session, id) {
            None => Ok(false),
            Some((_, room)) if &*room.key.kind == kind => Ok(true),
            Some((_, room)) => {
                let text = format!(
                    "You are in a room of this id already, of type \"{}\"; leave it first.",
                    room.key.kind
                );
                Err(refused(&text, id))
            }
        }
    }

    fn find(&self, session: SessionKey, id: &str) -> Option<(RoomNo, &Room)> {
        let no = *self.visitors.get(&session)?.rooms.get(id)?;
        Some((no, self.rooms.get(&no)?))
    }

    fn check_name(&self, what: &str, name: &str) -> Result<(), ErrorBody> {
        let max = self.limits.name_bytes_max;
        if name.len() > max {
            let text = format!("The {what} of a room, or a topic, has at most {max} bytes.");
            return Err(refused(&text, ""));
        }
        Ok(())
    }

    /// Encodes presence, if there is room for it in place of `before` bytes.
    fn presence(&self, data: &PresenceData, before: usize) -> Result<Presence, ErrorBody> {
        let text = serde_json::to_string(data)
            .map_err(|error| ErrorBody::internal(format!("presence has no JSON form: {error}")))?;
        let max = self.limits.presence_bytes_max;
        if text.len() > max {
            let message = format!("Presence has at most {max} bytes, this has {}.", text.len());
            return Err(ErrorBody::invalid("presence", &message, Json::Null));
        }
        if self.presence_bytes - before + text.len() > self.limits.total_presence_bytes_max {
            let message = "The rooms of this app hold as much presence as they may.";
            return Err(ErrorBody::bad_request("rate-limited", message, Json::Null));
        }
        Ok(Presence { data: Arc::new(data.clone()), text: text.into() })
    }

    fn enter(
        &mut self,
        entrant: &Entrant,
        kind: &str,
        id: &str,
        shown: Presence,
    ) -> Result<(), ErrorBody> {
        let RoomLimits { rooms_per_session_max, members_per_room_max, .. } = self.limits;
        if self
            .visitors
            .get(&entrant.session)
            .is_some_and(|v| v.rooms.len() >= rooms_per_session_max)
        {
            let text = format!("A session may be in at most {rooms_per_session_max} rooms.");
            return Err(refused(&text, id));
        }
        let key = RoomKey { kind: kind.into(), id: id.into() };
        let known = self.by_key.get(&key).copied();
        if known
            .and_then(|no| self.rooms.get(&no))
            .is_some_and(|room| room.members.len() >= members_per_room_max)
        {
            let text = format!("The room is full: it has {members_per_room_max} members.");
            return Err(refused(&text, id));
        }
        let no = known.unwrap_or_else(|| {
            self.last_room += 1;
            RoomNo(self.last_room)
        });
        self.by_key.entry(key.clone()).or_insert(no);
        let room = self.rooms.entry(no).or_insert_with(|| Room::new(key));
        let id = room.key.id.clone();
        self.presence_bytes += shown.text.len();
        room.enter(entrant.session, Member::new(entrant, shown));
        self.visitors.entry(entrant.session).or_default().rooms.insert(id, no);
        self.mark(no, Urgency::Prompt);
        Ok(())
    }

    /// Takes a session out of a room, if it is in it.
    pub(crate) fn leave(&mut self, session: SessionKey, leave: &LeaveRoom) {
        let no = self.visitors.get_mut(&session).and_then(|v| v.rooms.remove(&*leave.room_id));
        if let Some(no) = no {
            self.quit(session, no);
        }
        let event = leave.client_event_id.as_ref();
        self.outputs.push_back((session, encode::room_ok("leave-room-ok", &leave.room_id, event)));
    }

    /// Takes a session that has ended out of all rooms.
    pub(crate) fn forget(&mut self, session: SessionKey) {
        let Some(visitor) = self.visitors.remove(&session) else { return };
        for no in visitor.rooms.into_values() {
            self.quit(session, no);
        }
    }

    fn quit(&mut self, session: SessionKey, no: RoomNo) {
        let Some(room) = self.rooms.get_mut(&no) else { return };
        self.presence_bytes -= room.leave(session);
        if !room.members.is_empty() {
            self.mark(no, Urgency::Paced);
            return;
        }
        if let Some(room) = self.rooms.remove(&no) {
            self.by_key.remove(&room.key);
            if let Some(at) = room.due_at {
                self.due.remove(&(at, no));
            }
        }
    }

    /// Changes what a session shows in a room.
    pub(crate) fn set(&mut self, session: SessionKey, set: &SetPresence) -> Result<(), ErrorBody> {
        let (no, room) = self.find(session, &set.room_id).ok_or_else(|| not_in(&set.room_id))?;
        let member = room.members.get(&session).ok_or_else(|| not_in(&set.room_id))?;
        let before = member.shown.text.len();
        self.allow(room, member, RoomAction::SetPresence(&set.data))?;
        let shown = self.presence(&set.data, before)?;
        let after = shown.text.len();
        if self.rooms.get_mut(&no).is_some_and(|room| room.show(session, shown)) {
            self.presence_bytes = self.presence_bytes - before + after;
            self.mark(no, Urgency::Paced);
        }
        let event = set.client_event_id.as_ref();
        self.outputs.push_back((session, encode::room_ok("set-presence-ok", &set.room_id, event)));
        Ok(())
    }

    fn allow(&self, room: &Room, member: &Member, action: RoomAction<'_>) -> Result<(), ErrorBody> {
        self.policy.check(&RoomRequest {
            room_type: &room.key.kind,
            room_id: &room.key.id,
            user: member.user.as_deref(),
            is_admin: member.is_admin,
            action,
        })
    }

    /// Tells the others in a room something. Nobody gets it who is not there now.
    pub(crate) fn broadcast(
        &mut self,
        session: SessionKey,
        broadcast: &ClientBroadcast,
    ) -> Result<(), ErrorBody> {
        let ClientBroadcast { room_id, topic, data, client_event_id, .. } = broadcast;
        let (no, room) = self.find(session, room_id).ok_or_else(|| not_in(room_id))?;
        let member = room.members.get(&session).ok_or_else(|| not_in(room_id))?;
        self.check_name("id", topic)?;
        self.allow(room, member, RoomAction::Broadcast { topic, data })?;
        let text = data.to_string();
        let max = self.limits.broadcast_bytes_max;
        if text.len() > max {
            let message = format!("A broadcast has at most {max} bytes, this has {}.", text.len());
            return Err(ErrorBody::invalid("broadcast", &message, Json::Null));
        }
        let mut entry = String::with_capacity(text.len() + 96);
        encode::push_entry(&mut entry, &member.peer, &member.user_text, &text);
        let is_known = member.told.is_some();
        let (told, answer) = encode::broadcast(room_id, topic, &entry, client_event_id.as_ref());
        self.outputs.push_back((session, answer));
        if is_known {
            self.spread(no, session, &told);
        } else if let Some(room) = self.rooms.get_mut(&no) {
            room.waiting.push_back((session, told));
            if room.waiting.len() > self.limits.broadcasts_waiting_max {
                room.waiting.pop_front();
                self.dropped += 1;
            }
        }
        Ok(())
    }

    fn spread(&mut self, no: RoomNo, sender: SessionKey, told: &Frame) {
        let Self { rooms, visitors, outputs, limits, dropped, .. } = self;
        let Some(room) = rooms.get(&no) else { return };
        for session in room.members.keys().filter(|session| **session != sender) {
            match visitors.get_mut(session) {
                Some(visitor) if visitor.is_paused => *dropped += visitor.wait(told, limits),
                _ => outputs.push_back((*session, told.clone())),
            }
        }
    }

    /// The session's reader is slow: until [`Self::resume`] it is told nothing but answers.
    pub(crate) fn pause(&mut self, session: SessionKey) {
        if let Some(visitor) = self.visitors.get_mut(&session) {
            visitor.is_paused = true;
        }
    }

    /// The session's reader has caught up: it gets what others told it that could be kept, and with the
    /// next [`Self::flush`] everyone's latest presence.
    pub(crate) fn resume(&mut self, session: SessionKey) {
        let Some(visitor) = self.visitors.get_mut(&session) else { return };
        if !std::mem::take(&mut visitor.is_paused) {
            return;
        }
        visitor.waiting_bytes = 0;
        self.outputs.extend(visitor.waiting.drain(..).map(|frame| (session, frame)));
        let is_stale = |room: &Room| {
            room.members.get(&session).is_some_and(|member| member.view == View::Stale)
        };
        let stale: Vec<RoomNo> = visitor
            .rooms
            .values()
            .copied()
            .filter(|no| self.rooms.get(no).is_some_and(is_stale))
            .collect();
        for no in stale {
            self.mark(no, Urgency::Paced);
        }
    }

    /// Notes that a room has something to tell.
    fn mark(&mut self, no: RoomNo, urgency: Urgency) {
        let Some(room) = self.rooms.get_mut(&no) else { return };
        let at = match urgency {
            Urgency::Prompt if room.is_cheap => Duration::ZERO,
            Urgency::Prompt | Urgency::Paced => room.rested_at,
        };
        match room.due_at {
            Some(before) if before <= at => return,
            Some(before) => drop(self.due.remove(&(before, no))),
            None => {}
        }
        room.due_at = Some(at);
        self.due.insert((at, no));
    }

    /// When [`Self::flush`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Tells the members of every room that is due what changed. `now` is on a clock that does not go back.
    pub(crate) fn flush(&mut self, now: Duration) {
        while let Some((at, no)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, no));
            let Self { rooms, visitors, outputs, .. } = self;
            let Some(room) = rooms.get_mut(&no) else { continue };
            room.due_at = None;
            let is_paused = |session| visitors.get(&session).is_some_and(|v: &Visitor| v.is_paused);
            let cost = room.tell(is_paused, |session, frame| outputs.push_back((session, frame)));
            let rest = self.limits.rest(cost.bytes, cost.messages);
            room.is_cheap = rest <= self.limits.tick;
            room.rested_at = now + rest;
            for (sender, told) in std::mem::take(&mut room.waiting) {
                self.spread(no, sender, &told);
            }
        }
    }
}

impl Visitor {
    /// Keeps a message for later; gives the number of those that had to go for it.
    fn wait(&mut self, frame: &Frame, limits: &RoomLimits) -> u64 {
        self.waiting.push_back(frame.clone());
        self.waiting_bytes += frame.len();
        let mut dropped = 0;
        while self.waiting.len() > limits.broadcasts_waiting_max
            || self.waiting_bytes > limits.broadcast_bytes_waiting_max
        {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= oldest.len();
            dropped += 1;
        }
        dropped
    }
}

fn not_in(room_id: &str) -> ErrorBody {
    refused("You have not entered this room yet.", room_id)
}

fn refused(text: &str, room_id: &str) -> ErrorBody {
    ErrorBody::invalid("room", text, room_id.into())
}
