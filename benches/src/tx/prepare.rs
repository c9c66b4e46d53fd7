//! Preparing and applying: in the engine, and in the state of an app on the server whose log is memory.

use std::time::Instant;

use serde_json::Value as Json;
use tricedb_core::id::{AppId, IdSource as _, SessionId};
use tricedb_protocol::{ClientMessage, Features};
use tricedb_server::app::{AppIdentity, AppLimits, AppState, OpenSession, Output, SessionKey};
use tricedb_server::log::LoadedLog;

use super::BENCH;
use crate::engine;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::socket::unexpected;
use crate::todos::{Ids, Todos, transact};

const LARGE: usize = 200;
/// Steps of a large transaction.
const STEPS: usize = 1_000;
/// Steps that create one todo.
const STEPS_EACH: usize = 6;

/// The targets.
const CREATE_MICROS: f64 = 4.0;
const LARGE_MILLIS: f64 = 2.0;

/// Measures both.
///
/// # Errors
/// [`BenchError`].
pub(crate) fn run() -> Result<Vec<Figure>, BenchError> {
    let name = "create of 5 attributes: prepare, apply";
    let creates = Figure::new(BENCH, name, Unit::Micros, engine::creates()?);
    let (creating, updating) = large()?;
    let figure = |what: &str, samples| {
        let name = format!("1,000 steps that {what}, on a server without a disk");
        Figure::new(BENCH, name, Unit::Millis, samples).target(Target::AtMost(LARGE_MILLIS))
    };
    Ok(vec![
        creates.target(Target::AtMost(CREATE_MICROS)),
        figure("create", creating),
        figure("update", updating),
    ])
}

/// An app on a server, its client and what they spoke last.
struct App {
    state: AppState,
    session: SessionKey,
}

impl App {
    fn open() -> Result<Self, BenchError> {
        let mut ids = Ids::new(1);
        let identity = AppIdentity { id: AppId(ids.next_uuid()), title: "bench".into() };
        let open = OpenSession {
            id: SessionId(ids.next_uuid()),
            features: Features::of("1.0.67"),
            is_admin: false,
            event: None,
            native: None,
        };
        let (limits, log) = (AppLimits::default(), LoadedLog::default());
        let mut state = AppState::new(identity, limits, log, true, Box::new(ids), 1);
        let refused = |error| unexpected("a session", &format!("{error:?}"));
        let session = state.open_session(open, 1).map_err(refused)?;
        let mut app = Self { state, session };
        app.answer("init-ok")?;
        Ok(app)
    }

    /// From a message's text to the text of the answer.
    fn say(&mut self, text: &str, wanted: &'static str) -> Result<(), BenchError> {
        let message =
            ClientMessage::decode(text).map_err(|error| unexpected(wanted, &error.to_string()))?;
        self.state.message(self.session, message, 2);
        self.answer(wanted)
    }

    fn answer(&mut self, wanted: &'static str) -> Result<(), BenchError> {
        self.state.seal();
        let mut last = String::new();
        while let Some(output) = self.state.poll() {
            let Output::Send { frame, .. } = output else { continue };
            last = format!("{frame:?}");
            if last.contains(wanted) {
                return Ok(());
            }
        }
        Err(unexpected(wanted, &last))
    }
}

/// Times of transactions of [`STEPS`] steps that create, and of such that update as many titles.
fn large() -> Result<(Samples, Samples), BenchError> {
    let mut ids = Ids::new(2);
    let todos = Todos::new(&mut ids);
    let mut app = App::open()?;
    let attrs = transact(&todos.attr_steps(&mut ids), ids.next_uuid());
    app.say(&attrs, "transact-ok")?;
    let (mut creating, mut updating) = (Samples::default(), Samples::default());
    let mut rows = Vec::new();
    for round in 0..LARGE {
        let mut steps: Vec<Json> = Vec::new();
        while steps.len() + STEPS_EACH <= STEPS {
            let todo = ids.next_uuid();
            steps.extend(todos.create_steps(todo, &format!("title {:07}", rows.len())));
            rows.push(todo);
        }
        creating.push(timed(&mut app, &steps, &mut ids)?);
        let first = (ids.next_u64() % rows.len() as u64) as usize;
        let chosen = rows.iter().cycle().skip(first).take(STEPS);
        let steps: Vec<Json> =
            chosen.flat_map(|todo| todos.retitle_steps(*todo, &format!("round {round}"))).collect();
        updating.push(timed(&mut app, &steps, &mut ids)?);
    }
    Ok((creating, updating))
}

/// Milliseconds from the text of a transaction to that of its acknowledgement.
fn timed(app: &mut App, steps: &[Json], ids: &mut Ids) -> Result<f64, BenchError> {
    let text = transact(steps, ids.next_uuid());
    let start = Instant::now();
    app.say(&text, "transact-ok")?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
