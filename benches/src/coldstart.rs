//! From the start of `tricedb serve` on existing data to its `listening` line.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::error::{BenchError, io_error};
use crate::figure::{Figure, Samples, Target, Unit};
use crate::programs::{Programs, ServeMode};
use crate::session::{Session, make_app};
use crate::socket::in_time;
use crate::todos::{Ids, Todos};

const BENCH: &str = "coldstart";
const STARTS: usize = 30;
const TODOS: usize = 1_000;
const TARGET_MILLIS: f64 = 100.0;

/// Runs the benchmark.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let data = programs.directory()?.join("data");
    let server = programs.server_on(&data, ServeMode::Dev)?;
    fill(server.address()).await?;
    server.stop()?;
    let (mut starts, mut trivial) = (Samples::default(), Samples::default());
    for _ in 0..STARTS {
        let server = programs.server_on(&data, ServeMode::Plain)?;
        starts.push(server.started_in().as_secs_f64() * 1e3);
        server.stop()?;
        trivial.push(time_to_end(Command::new(programs.tricedb()).arg("--version"))?);
    }
    let figure = Figure::new(BENCH, "start of `serve` to `listening`", Unit::Millis, starts);
    Ok(vec![
        figure
            .beside("a run of `tricedb --version`", trivial)
            .target(Target::AtMost(TARGET_MILLIS)),
    ])
}

async fn fill(address: &str) -> Result<(), BenchError> {
    let app = make_app(address).await?;
    let mut ids = Ids::new(1);
    let todos = Todos::new(&mut ids);
    let mut session = Session::open(address, app).await?;
    session.make_attrs(&todos, &mut ids).await?;
    for _ in 0..TODOS {
        in_time("transact-ok", session.create(&todos, &mut ids)).await?;
    }
    Ok(())
}

fn time_to_end(command: &mut Command) -> Result<f64, BenchError> {
    let start = Instant::now();
    let output =
        command.stdin(Stdio::null()).output().map_err(io_error("run `tricedb --version`"))?;
    let elapsed = start.elapsed();
    if output.status.success() {
        Ok(elapsed.as_secs_f64() * 1e3)
    } else {
        let got = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(BenchError::Unexpected { wanted: "a version", got })
    }
}
