//! `%%writefile`: a cell's text as a file, there as a whole or not at all.

use std::{
    env, fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use jupyter::CellError;

use super::{Call, Command, Commands, Form, error, language::say, nothing};

pub(super) const COMMAND: Command = Command {
    name: "writefile",
    form: Form::Cell,
    arguments: "[-a] PATH",
    summary: "writes the rest of the cell to a file",
    details:
        "`-a` appends. The file is replaced in one step: whoever reads it meanwhile, or a full \
disk, finds the old one whole. A relative path starts at the notebook's folder.

    %%writefile -a notes/today.md
    one more line",
    run,
    complete: nothing,
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let (append, path) = match call.arguments.strip_prefix("-a") {
        Some(path) if path.starts_with(char::is_whitespace) || path.is_empty() => (true, path),
        _ => (false, call.arguments),
    };
    let path = path.trim().trim_matches('"');
    if path.is_empty() {
        return Err(error::usage(call.command, "it needs a path"));
    }
    let body = call.body.unwrap_or_default();
    let file = commands.place.working_dir.join(home(path));
    let existed = file.exists();
    write(&file, body, append).map_err(|reason| {
        let hint = match reason.kind() {
            io::ErrorKind::NotFound => "its folder is not there; `!mkdir -p FOLDER` makes it",
            io::ErrorKind::PermissionDenied => "the folder or the file is not yours to write",
            io::ErrorKind::StorageFull => "the disk is full; the old file is untouched",
            _ => "the old file, if there was one, is untouched",
        };
        error::failed("IoError", format!("cannot write `{path}`: {reason}"), hint)
    })?;
    let verb = match (append, existed) {
        (true, true) => "appended to",
        (_, false) => "wrote",
        (false, true) => "replaced",
    };
    say(call.out, &format!("{verb} {path}"));
    Ok(())
}

fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// Beside the file and then in its place, with its permissions; a link is followed.
fn write(file: &Path, body: &str, append: bool) -> io::Result<()> {
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut builder = tempfile::Builder::new();
    // What any program would create; `tempfile`'s own default is for secrets.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut new = builder.permissions(permissions).tempfile_in(folder)?;
    match fs::metadata(&file) {
        Ok(old) => new.as_file().set_permissions(old.permissions())?,
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => {}
        Err(reason) => return Err(reason),
    }
    if append && file.exists() {
        io::copy(&mut fs::File::open(&file)?, &mut new)?;
    }
    new.write_all(body.as_bytes())?;
    if !body.is_empty() && !body.ends_with('\n') {
        new.write_all(b"\n")?;
    }
    new.as_file().sync_all()?;
    new.persist(&file).map_err(|failed| failed.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_written_replaced_and_appended_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.txt");
        let read = || fs::read_to_string(&file).expect("is there");
        write(&file, "one", false).expect("is written");
        assert_eq!(read(), "one\n");
        write(&file, "two\n", true).expect("is appended to");
        assert_eq!(read(), "one\ntwo\n");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("is ours");
        write(&file, "three", false).expect("is replaced");
        assert_eq!(read(), "three\n");
        let mode = fs::metadata(&file).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "permissions stay");
        assert_eq!(fs::read_dir(folder.path()).expect("is there").count(), 1);
    }

    #[test]
    fn a_link_is_followed_and_stays_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&file, "old").expect("is written");
        symlink(&file, &link).expect("a link");
        write(&link, "new", false).expect("is written");
        assert_eq!(fs::read_to_string(&file).expect("is there"), "new\n");
        assert!(link.is_symlink());
    }

    #[test]
    fn a_missing_folder_is_told() {
        let error = write(Path::new("/nowhere/at/all"), "x", false).expect_err("fails");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
