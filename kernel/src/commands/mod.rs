//! Commands that need no compile: `%name`, `%%name` with the rest of the cell, `!command`, `?name`.
//!
//! [`TABLE`] is all there is to know of them: `%help` prints it, Tab completes from it, and a cell's
//! lines are looked up in it. Each command is a file. [`script`] reads a cell, [`language`] runs it
//! and hands the rest to the notebook of Rust, which may still be coming up.

mod assistant;
mod bar;
mod bash;
mod chat;
mod complete;
mod deps;
mod doctor;
mod elsewhere;
mod env;
mod error;
mod gpu;
mod help;
mod host;
mod hub_folders;
mod in_memory;
mod language;
mod limit;
mod live;
mod load;
mod login;
mod model_options;
mod models;
mod models_panel;
mod notebook;
mod opening;
mod pin;
mod pipeline;
mod pipeline_arguments;
mod reset;
mod script;
mod strings;
mod template;
mod time;
mod timeit;
mod tokens;
mod vars;
mod writefile;

use jupyter::{Cell, CellError, Publisher};

pub use assistant::{Assistant, Place};
pub use language::Commands;
pub use notebook::{Analysis, Notebook, Patience, Timing, Variable};
pub use script::{Script, Step, parse};

/// How a command may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `%name`, one line.
    Line,
    /// `%%name`, with the rest of the cell.
    Cell,
    /// Either way.
    Both,
}

/// A command.
struct Command {
    name: &'static str,
    form: Form,
    /// What stands behind the name.
    arguments: &'static str,
    /// What it does, in half a line.
    summary: &'static str,
    /// What else there is to know; a line that begins with four spaces is an example.
    details: &'static str,
    run: fn(&mut Commands, &Call<'_>) -> Result<(), CellError>,
    /// What the next word could be, behind these words.
    complete: fn(&Assistant, &[&str]) -> Vec<String>,
}

/// A command as a cell calls it.
struct Call<'a> {
    /// The command called.
    command: &'static Command,
    /// The rest of its line.
    arguments: &'a str,
    /// The byte of the cell's code at which `arguments` starts.
    start: usize,
    /// The rest of the cell, for `%%name`.
    body: Option<&'a str>,
    /// The cell.
    cell: &'a Cell,
    /// Where it shows what it has to show.
    out: &'a Publisher,
}

/// All commands, in the order of `%help`.
static TABLE: &[Command] = &[
    help::COMMAND,
    models::MODELS,
    load::COMMAND,
    models::UNLOAD,
    pin::COMMAND,
    chat::COMMAND,
    pipeline::COMMAND,
    tokens::COMMAND,
    template::COMMAND,
    vars::COMMAND,
    deps::COMMAND,
    reset::COMMAND,
    limit::COMMAND,
    time::COMMAND,
    timeit::COMMAND,
    env::COMMAND,
    bash::COMMAND,
    writefile::COMMAND,
    gpu::COMMAND,
    login::COMMAND,
    doctor::COMMAND,
];

impl Command {
    /// `%limit [memory SIZE|off]`.
    fn usage(&self) -> String {
        let line = format!("%{} {}", self.name, self.arguments);
        match self.form {
            Form::Line => line,
            Form::Cell => format!("%{line}"),
            Form::Both => format!("{line}, %%{}", self.name),
        }
        .trim_end()
        .to_owned()
    }
}

/// The command of this name.
fn find(name: &str) -> Option<&'static Command> {
    TABLE.iter().find(|command| command.name == name)
}

/// The command that was probably meant, when one is near.
fn nearest(name: &str) -> Option<&'static Command> {
    let distance = |command: &&Command| strsim::damerau_levenshtein(command.name, name);
    let nearest = TABLE.iter().min_by_key(distance)?;
    let begun = !name.is_empty() && nearest.name.starts_with(name);
    (begun || distance(&nearest) <= 1 + name.chars().count() / 4).then_some(nearest)
}

/// A command whose words cannot be completed.
fn nothing(_: &Assistant, _: &[&str]) -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn commands_are_told_apart_and_explained() {
        let names: HashSet<&str> = TABLE.iter().map(|command| command.name).collect();
        assert_eq!(names.len(), TABLE.len());
        for command in TABLE {
            assert!(
                command.details.len() > command.summary.len(),
                "{}",
                command.name
            );
            assert!(!command.summary.ends_with('.'), "{}", command.name);
        }
    }

    #[test]
    fn a_typing_error_finds_the_command() {
        for (typed, meant) in [
            ("modles", Some("models")),
            ("hlp", Some("help")),
            ("unlaod", Some("unload")),
            ("write", None),
            ("pandas", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed).map(|command| command.name), meant, "{typed}");
        }
    }

    #[test]
    fn the_readme_lists_every_command() {
        let readme = include_str!("../../../README.md");
        for command in TABLE {
            assert!(
                readme.contains(&format!("`%{}", command.name))
                    || readme.contains(&format!("`%%{}", command.name)),
                "{}",
                command.name
            );
        }
    }

    #[test]
    fn the_usage_says_both_forms() {
        assert_eq!(help::COMMAND.usage(), "%help [NAME]");
        assert_eq!(bash::COMMAND.usage(), "%%bash");
        assert_eq!(time::COMMAND.usage(), "%time CODE, %%time");
    }
}
