//! Who gives the supervisor orders: the kernel's connections on the control socket, and evcxr's.

use std::{
    collections::VecDeque,
    io,
    io::{Read, Write},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};

use rustix::event::{PollFd, PollFlags};

use super::{
    CONTROL_SOCKET, EVCXR_SOCKET,
    messages::{Arrived, CellStatus, Channel, ControlOrder, ControlReply, RollBack, RunEnd},
};

const EXECUTION_COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE";
const PANIC_NOTIFICATION: &str = "EVCXR_PANIC_NOTIFICATION";
const ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";
const VARIABLE_CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";

/// A line that is not UTF-8 makes evcxr give up the cell without taking over anything of it: its
/// record of variables and items stays that of before the cell, like the snapshot's memory.
const ROLL_BACK: &[u8] = b"\xFF\n";

/// A cell to be run.
#[derive(Debug)]
pub struct Cell {
    pub caller: Caller,
    pub library: String,
    pub function: String,
    pub roll_back: RollBack,
}

/// Who asked for it, and gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A connection on the control socket, by number.
    Control(u64),
    Evcxr,
}

/// What the supervisor is to do.
#[derive(Debug)]
pub enum Asked {
    Run(Cell),
    /// Interrupt what the running cell has started.
    Interrupt,
    EndCell,
    /// Set the limit of memory, and answer to this connection.
    Limit(u64, Option<u64>),
    /// Tell this connection where the cells are.
    Folder(u64),
    /// Forget all variables.
    Forget,
    /// evcxr has ended its child: nobody waits for its cells any more. The variables are the kernel's.
    Abandon,
}

/// The two sockets and the connections on them.
pub struct Callers {
    control: UnixListener,
    evcxr: UnixListener,
    kernels: Vec<(u64, Channel)>,
    relay: Option<Relay>,
    accepted: u64,
}

struct Relay {
    stream: UnixStream,
    held: Vec<u8>,
}

impl Callers {
    /// Binds the sockets in the session's folder, which only the user enters.
    pub fn listen(session: &Path) -> io::Result<Self> {
        Ok(Self {
            control: listen(&session.join(CONTROL_SOCKET))?,
            evcxr: listen(&session.join(EVCXR_SOCKET))?,
            kernels: Vec::new(),
            relay: None,
            accepted: 0,
        })
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        [self.control.as_fd(), self.evcxr.as_fd()]
            .into_iter()
            .chain(self.kernels.iter().map(|(_, channel)| channel.as_fd()))
            .chain(self.relay.iter().map(|relay| relay.stream.as_fd()))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
    }

    /// Takes everything that has arrived. evcxr's comes first, and is read last: it has ended its
    /// child before the kernel, the same process, orders anything that builds on it.
    pub fn take_arrived(&mut self) -> VecDeque<Asked> {
        while let Some(stream) = accept(&self.control) {
            self.accepted += 1;
            self.kernels.push((self.accepted, Channel::new(stream)));
        }
        let mut by_kernel = Vec::new();
        self.kernels
            .retain_mut(|(number, channel)| read_kernel(*number, channel, &mut by_kernel));
        let mut asked = VecDeque::new();
        self.read_evcxr(&mut asked);
        while let Some(stream) = accept(&self.evcxr) {
            if self.relay.is_some() {
                asked.push_back(Asked::Abandon);
            }
            self.relay = Some(Relay {
                stream,
                held: Vec::new(),
            });
            self.read_evcxr(&mut asked);
        }
        asked.extend(by_kernel);
        asked
    }

    fn read_evcxr(&mut self, asked: &mut VecDeque<Asked>) {
        let Some(relay) = &mut self.relay else { return };
        if let Ok(orders) = relay.read() {
            asked.extend(orders.into_iter().map(Asked::Run));
        } else {
            self.relay = None;
            asked.push_back(Asked::Abandon);
        }
    }

    /// Answers whoever asked for a cell. One that has gone needs no answer.
    pub fn answer(&mut self, caller: Caller, ended: RunEnd) {
        match caller {
            Caller::Control(number) => self.reply(number, &ControlReply::Ended(ended)),
            // evcxr sees its child end, and starts another, without variables.
            Caller::Evcxr if ended.lost_all => self.relay = None,
            Caller::Evcxr => {
                if let Some(relay) = &mut self.relay {
                    let _ = relay.stream.write_all(&in_evcxrs_words(&ended));
                }
            }
        }
    }

    /// Answers on a connection of the kernel, unless it has gone.
    pub fn reply(&mut self, number: u64, reply: &ControlReply) {
        let channel = self.kernels.iter_mut().find(|(each, _)| *each == number);
        if let Some((_, channel)) = channel {
            let _ = channel.send(reply);
        }
    }
}

impl Relay {
    /// The orders that have arrived; an error when the other side has closed or is not evcxr.
    fn read(&mut self) -> io::Result<Vec<Cell>> {
        let mut buffer = [0; 4096];
        let closed = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(length) => self.held.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        if closed {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut cells = Vec::new();
        while let Some(end) = self.held.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.held.drain(..=end).collect();
            let cell = std::str::from_utf8(&line[..end]).ok().and_then(parse);
            cells.push(cell.ok_or(io::ErrorKind::InvalidData)?);
        }
        Ok(cells)
    }
}

fn parse(line: &str) -> Option<Cell> {
    // The library's path may hold spaces, the function's name never does.
    let (library, function) = line.strip_prefix("LOAD_AND_RUN ")?.rsplit_once(' ')?;
    Some(Cell {
        caller: Caller::Evcxr,
        library: library.to_owned(),
        function: function.to_owned(),
        // Which variables it takes over is not known here.
        roll_back: RollBack::AfterFailure,
    })
}

fn in_evcxrs_words(ended: &RunEnd) -> Vec<u8> {
    let first = match ended.end.status {
        _ if ended.restored => return ROLL_BACK.to_vec(),
        CellStatus::Died | CellStatus::NotRun => return ROLL_BACK.to_vec(),
        CellStatus::Panic => Some(PANIC_NOTIFICATION.to_owned()),
        CellStatus::Error => Some(ERROR_OCCURRED.to_owned()),
        CellStatus::Ok => None,
    };
    let lost = ended.end.lost_variables.iter();
    let lines = first
        .into_iter()
        .chain(lost.map(|variable| format!("{VARIABLE_CHANGED_TYPE}{variable}")))
        .chain([EXECUTION_COMPLETE.to_owned()]);
    lines.flat_map(|line| (line + "\n").into_bytes()).collect()
}

/// Takes what a connection of the kernel has to say; `false` when it is over.
fn read_kernel(number: u64, channel: &mut Channel, asked: &mut Vec<Asked>) -> bool {
    loop {
        let order = match channel.receive_arrived() {
            Ok(Arrived::Message(order)) => order,
            Ok(Arrived::Nothing) => return true,
            Ok(Arrived::Closed) | Err(_) => return false,
        };
        let (order, is_done) = match order {
            ControlOrder::Run {
                library,
                function,
                roll_back,
            } => {
                let cell = Cell {
                    caller: Caller::Control(number),
                    library,
                    function,
                    roll_back,
                };
                (Asked::Run(cell), false)
            }
            ControlOrder::Limit { bytes } => (Asked::Limit(number, bytes), false),
            ControlOrder::Folder => (Asked::Folder(number), false),
            ControlOrder::Forget => (Asked::Forget, true),
            ControlOrder::Interrupt => (Asked::Interrupt, true),
            ControlOrder::EndCell => (Asked::EndCell, true),
        };
        asked.push(order);
        if is_done && channel.send(&ControlReply::Done).is_err() {
            return false;
        }
    }
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    let listener = super::bind(socket)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The next connection of this user; others are hung up on.
fn accept(listener: &UnixListener) -> Option<UnixStream> {
    loop {
        let (stream, _) = listener.accept().ok()?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        if peer.uid == rustix::process::getuid() && stream.set_nonblocking(true).is_ok() {
            return Some(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_path_may_hold_spaces() {
        let cell = parse("LOAD_AND_RUN /a b/lib.so run_user_code_1").expect("an order");
        assert_eq!(
            (cell.library.as_str(), cell.function.as_str()),
            ("/a b/lib.so", "run_user_code_1")
        );
        assert!(parse("SOMETHING else").is_none());
    }
}
