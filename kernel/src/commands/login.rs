//! `%login`: the hub's access token, asked for where nobody reads it, and kept where every program that
//! uses the hub looks.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt, path::Path};

use jupyter::{CellError, InputError};

use super::{Call, Command, Commands, Form, error, hub_folders, language::say, nothing};

pub(super) const COMMAND: Command = Command {
    name: "login",
    form: Form::Line,
    arguments: "",
    summary: "asks for the hub's access token and keeps it",
    details: "As `huggingface-cli login`: the token goes to the file that `HF_TOKEN_PATH` names, or \
`token` in `HF_HOME`, which only its user can read. It is neither shown nor part of the notebook. An \
empty answer changes nothing. Tokens are made at https://huggingface.co/settings/tokens.",
    run,
    complete: nothing,
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if !call.arguments.is_empty() {
        // It would be in the notebook and in its history.
        let complaint = "it asks for the token; do not write one into a cell";
        return Err(error::usage(call.command, complaint));
    }
    let token = call.out.input("Access token (not shown): ", true);
    let token = token.map_err(|reason| {
        if matches!(reason, InputError::Interrupted) {
            return error::interrupted("the question for the token");
        }
        let hint = "in a terminal, `huggingface-cli login` does the same";
        error::failed("InputError", format!("no token: {reason}"), hint)
    })?;
    let token = token.trim();
    if token.is_empty() {
        say(call.out, "no token was given: nothing is changed");
        return Ok(());
    }
    if token.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let hint = "copy it again: it is one word that begins with `hf_`";
        return Err(error::failed("InputError", "that is no access token", hint));
    }
    let variables = commands.environment.all();
    let path = hub_folders::token(&|name| variables.get(name).cloned()).ok_or_else(|| {
        error::failed(
            "LoginError",
            "no folder for the token",
            "set HF_HOME or HOME",
        )
    })?;
    // A relative one counts from where cells start, as it does for what they load.
    let path = commands.place.working_dir.join(path);
    keep(&path, token).map_err(|reason| {
        let evalue = format!("the token cannot be kept in {}: {reason}", path.display());
        error::failed("LoginError", evalue, "set HF_TOKEN_PATH to a file of yours")
    })?;
    say(
        call.out,
        &format!("kept in {}; the next download uses it", path.display()),
    );
    if variables.contains_key("HF_TOKEN") {
        say(call.out, "HF_TOKEN is set as well, and goes before it");
    }
    Ok(())
}

/// Writes a file that nobody else can read, at once or not at all.
fn keep(path: &Path, token: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(token.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_user_can_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/token");
        keep(&path, "hf_one").expect("is kept");
        keep(&path, "hf_two").expect("is replaced");
        assert_eq!(fs::read_to_string(&path).expect("is there"), "hf_two");
        let mode = fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
