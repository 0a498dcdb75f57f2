//! Serves a folder of `owner/name/` repositories as a stand-in hub until it is killed:
//! `standin-hub FOLDER [PORT]`; the address is the first line it prints.

use std::{env, error::Error, io::Write, path::Path, thread};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().ok_or("usage: standin-hub FOLDER [PORT]")?;
    let port = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let repositories = standin_hub::repositories_in(Path::new(&folder))?;
    let hub = standin_hub::StandinHub::start_on(port, repositories)?;
    writeln!(std::io::stdout(), "{}", hub.endpoint())?;
    loop {
        thread::park();
    }
}
