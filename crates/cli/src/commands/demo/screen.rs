//! What the demo shows: plain aligned text, with colours where somebody looks at it.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use serde_json::Value as Json;
use tricedb_core::id::AppId;

/// Standard output, or with `--json` standard error.
pub(crate) struct Screen {
    out: Box<dyn Write>,
    colours: bool,
    json: bool,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        let (out, terminal): (Box<dyn Write>, bool) = match json {
            true => (Box::new(io::stderr()), io::stderr().is_terminal()),
            false => (Box::new(io::stdout()), io::stdout().is_terminal()),
        };
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { out, colours, json }
    }

    /// A part of the story.
    pub(crate) fn heading(&mut self, text: &str) -> io::Result<()> {
        let text = self.paint("1;36", text);
        writeln!(self.out, "\n{text}")
    }

    /// A sentence below a heading.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "  {text}")
    }

    /// Something that holds.
    pub(crate) fn holds(&mut self, text: &str) -> io::Result<()> {
        let mark = self.paint("32", "ok");
        writeln!(self.out, "  {mark}  {text}")
    }

    /// Rows in columns; the first row is a heading.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) -> io::Result<()> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (place, row) in rows.iter().enumerate() {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            let text = cells.join("   ");
            let text = text.trim_end();
            let text = if place == 0 { self.paint("2", text) } else { text.to_owned() };
            writeln!(self.out, "      {text}")?;
        }
        Ok(())
    }

    /// Where the server is, for those who want to try it.
    pub(crate) fn addresses(&mut self, app: AppId, http: &str, socket: &str) -> io::Result<()> {
        self.heading("The server stays up until you press Ctrl-C; its data goes with it")?;
        self.table(&[
            vec!["setting of `init`".into(), "value".into()],
            vec!["appId".into(), app.to_string()],
            vec!["apiURI".into(), http.into()],
            vec!["websocketURI".into(), socket.into()],
        ])?;
        self.out.flush()
    }

    /// The result as the last line of standard output, where that was asked for.
    pub(crate) fn result(&mut self, result: &Json) -> io::Result<()> {
        self.out.flush()?;
        if self.json {
            let mut out = io::stdout().lock();
            writeln!(out, "{result}")?;
            out.flush()?;
        }
        Ok(())
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// A time for people.
pub(crate) fn readable(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}
