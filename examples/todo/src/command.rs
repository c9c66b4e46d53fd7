//! What can be typed.

/// How to use the program.
pub(crate) const HELP: &str = "\
add TEXT   done N   undone N   edit N TEXT   remove N
offline    online   pending    help          quit";

/// A line that was understood. Places count from zero.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Add(String),
    Done(usize, bool),
    Edit(usize, String),
    Remove(usize),
    Offline,
    Online,
    Pending,
    Help,
    Quit,
}

impl Command {
    /// Reads a line; `count` is the number of to-dos shown. A blank line is no command.
    pub(crate) fn parse(line: &str, count: usize) -> Result<Option<Self>, String> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let place = |text: &str| match text.parse::<usize>() {
            Ok(number) if (1..=count).contains(&number) => Ok(number - 1),
            _ => Err(format!("`{text}` is no line from 1 to {count}")),
        };
        let text = |text: &str| {
            if text.is_empty() {
                Err("some text is missing".to_owned())
            } else {
                Ok(text.to_owned())
            }
        };
        Ok(Some(match word {
            "" => return Ok(None),
            "add" => Self::Add(text(rest)?),
            "done" => Self::Done(place(rest)?, true),
            "undone" => Self::Done(place(rest)?, false),
            "edit" => {
                let (number, title) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                Self::Edit(place(number)?, text(title.trim())?)
            }
            "remove" => Self::Remove(place(rest)?),
            "offline" => Self::Offline,
            "online" => Self::Online,
            "pending" => Self::Pending,
            "help" => Self::Help,
            "quit" => Self::Quit,
            other => return Err(format!("`{other}` is not known; try `help`")),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_commands_or_a_reason() {
        let parse = |line| Command::parse(line, 2);
        assert_eq!(parse("  "), Ok(None));
        assert_eq!(parse("add  buy milk "), Ok(Some(Command::Add("buy milk".into()))));
        assert_eq!(parse("done 2"), Ok(Some(Command::Done(1, true))));
        assert_eq!(parse("edit 1 oat milk"), Ok(Some(Command::Edit(0, "oat milk".into()))));
        for wrong in ["done", "done 0", "done 3", "edit 1", "add", "dance"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
