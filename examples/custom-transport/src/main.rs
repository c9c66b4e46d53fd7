//! The sync engine with a transport of one's own (every frame takes 50 ms longer and is printed) and a
//! storage that keeps nothing; without the `tricedb` crate.
//!
//! ```text
//! cargo run -p tricedb-example-custom-transport -- ws://127.0.0.1:8888 APP
//! ```

mod nothing_kept;
mod slow_line;

use std::time::{Duration, Instant};

use serde_json::json;
use tricedb_core::id::AppId;
use tricedb_core::query::query;
use tricedb_core::tx::tx;
use tricedb_sync::{Settings, WebSocketTransport, start};
use uuid::Uuid;

use nothing_kept::NothingKept;
use slow_line::SlowLine;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, app] = arguments.as_slice() else {
        return Err("usage: custom-transport URL APP".into());
    };
    let app = AppId::parse(app).ok_or("the app's id must be a UUID")?;
    let (optimistic, confirmed) = write_over_a_slow_line(url, app).await?;
    eprintln!("shown after {optimistic:.1?}, confirmed by the server after {confirmed:.1?}");
    Ok(())
}

/// Writes one greeting. Returns how long it took to show, and to be durable on the server.
async fn write_over_a_slow_line(url: &str, app: AppId) -> Result<(Duration, Duration), Failure> {
    let delay = Duration::from_millis(50);
    let transport = SlowLine { inner: WebSocketTransport::new(url, app)?, delay };
    let (db, driver) = start(
        Settings::new(app),
        Box::new(transport),
        Box::new(NothingKept),
        Box::new(Uuid::new_v4),
    )
    .await?;
    let running = tokio::spawn(driver.run());

    let mut greetings = db.subscribe(&query("greetings").build()?);
    let started = Instant::now();
    let hello = tx("greetings", Uuid::new_v4()).create(json!({"text": "hello"}));
    let receipt = db.transact(hello.into_operations())?;
    greetings.wait_for(|result| !result.rows("greetings").is_empty()).await?;
    let optimistic = started.elapsed();
    receipt.synced().await?;
    let confirmed = started.elapsed();

    db.close().await?;
    running.await?;
    Ok((optimistic, confirmed))
}

#[cfg(test)]
mod tests {
    use tricedb_server::{Config, Server};

    use super::*;

    #[tokio::test]
    async fn a_slow_line_delays_the_confirmation_and_not_the_screen() {
        let server = Server::builder(Config::default()).start().await.unwrap();
        let app = server.create_app("Slow", None, None).await.unwrap().id;
        let (optimistic, confirmed) =
            write_over_a_slow_line(&server.websocket_url(), app).await.unwrap();
        // Connecting, `init`, its answer, `transact`, its answer.
        assert!(confirmed >= Duration::from_millis(250), "{confirmed:?}");
        assert!(optimistic < confirmed / 2, "{optimistic:?} of {confirmed:?}");
    }
}
