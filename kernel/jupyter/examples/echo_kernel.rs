//! A kernel of the tests' toy language, to be started by real Jupyter clients:
//! `echo_kernel CONNECTION_FILE [HISTORY_FILE]`.

#[path = "../tests/integration/echo.rs"]
mod echo;

use std::path::PathBuf;
use std::sync::Arc;

use jupyter::Settings;

fn main() -> Result<(), jupyter::Error> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let settings = Settings {
        connection_file: arguments.next().unwrap_or_default(),
        history_file: arguments.next(),
    };
    let control = Arc::new(echo::EchoControl::default());
    let language = control.language();
    jupyter::run(&settings, control, move |_out| Ok(Box::new(language))).map(|_reason| ())
}
