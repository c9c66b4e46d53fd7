//! The network: frames on their way, connections that end.

use std::collections::{BTreeMap, VecDeque};

use tricedb_core::port::Frame;

/// One connection; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ConnId(pub(crate) u64);

pub(crate) const fn frame_bytes(frame: &Frame) -> &[u8] {
    match frame {
        Frame::Text(text) => text.as_bytes(),
        Frame::Binary(bytes) => bytes.as_slice(),
    }
}

/// One direction. Frames arrive in order or, after a cut, not at all.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    frames: VecDeque<(u64, Frame)>,
    last_arrival: u64,
    bytes: usize,
    is_cut: bool,
}

impl Pipe {
    /// Bytes under way.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sends a frame that arrives after those before it. Returns when; none after a cut.
    pub(crate) fn send(&mut self, frame: Frame, at: u64) -> Option<u64> {
        if self.is_cut {
            return None;
        }
        self.last_arrival = self.last_arrival.max(at);
        self.bytes += frame_bytes(&frame).len();
        self.frames.push_back((self.last_arrival, frame));
        Some(self.last_arrival)
    }

    /// The next frame that has arrived.
    pub(crate) fn receive(&mut self, now: u64) -> Option<Frame> {
        if self.frames.front().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let (_, frame) = self.frames.pop_front()?;
        self.bytes -= frame_bytes(&frame).len();
        Some(frame)
    }

    /// Whether a frame has arrived and was not taken.
    pub(crate) fn has_arrived(&self, now: u64) -> bool {
        self.frames.front().is_some_and(|(at, _)| *at <= now)
    }

    /// Lets so many bytes more through and nothing after them: a frame that is not through whole is lost.
    /// Returns the number of lost frames.
    pub(crate) fn cut(&mut self, bytes: usize) -> u64 {
        self.is_cut = true;
        let mut left = bytes;
        let mut keep = 0;
        for (_, frame) in &self.frames {
            let size = frame_bytes(frame).len();
            if size > left {
                break;
            }
            left -= size;
            keep += 1;
        }
        let lost = self.frames.len() - keep;
        self.frames.truncate(keep);
        self.bytes = self.frames.iter().map(|(_, frame)| frame_bytes(frame).len()).sum();
        lost as u64
    }
}

/// A connection between a client's process and the server's.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) client: usize,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// Whether each side still thinks that it is there.
    pub(crate) client_open: bool,
    pub(crate) server_open: bool,
}

/// All connections that some side still knows of.
#[derive(Debug, Default)]
pub(crate) struct Network {
    conns: BTreeMap<ConnId, Conn>,
    last: u64,
}

impl Network {
    pub(crate) fn open(&mut self, client: usize) -> ConnId {
        self.last += 1;
        let id = ConnId(self.last);
        let (up, down) = (Pipe::default(), Pipe::default());
        let conn = Conn { client, up, down, client_open: true, server_open: true };
        self.conns.insert(id, conn);
        id
    }

    pub(crate) fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(&id)
    }

    /// The connections that the server thinks are there.
    pub(crate) fn at_server(&self) -> Vec<ConnId> {
        self.conns.iter().filter(|(_, conn)| conn.server_open).map(|(id, _)| *id).collect()
    }

    /// Forgets a connection that neither side knows any more.
    pub(crate) fn tidy(&mut self, id: ConnId) {
        if self.conns.get(&id).is_some_and(|conn| !conn.client_open && !conn.server_open) {
            self.conns.remove(&id);
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.conns.values().all(|conn| conn.up.bytes == 0 && conn.down.bytes == 0)
    }
}
