//! Requests and answers of the stand-in, one a connection: the API's `revision`, `resolve` with its redirects, to a
//! store of large files on another host and within the hub to its cache of small ones, ranges, and the refusals with
//! the hub's own codes.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    State,
    repository::{COMMIT, Fault, Repository, etag, is_large},
};

/// Bytes of a slow file that come at once.
const PART: usize = 256;

struct Request {
    method: String,
    path: String,
    range_from: Option<usize>,
    has_token: bool,
    /// By which the client has reached the stand-in, where it said so: a line before it has another.
    port: Option<u16>,
}

struct Answer {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: &'static str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn refusal(status: &'static str, code: &str, message: &str) -> Self {
        let mut answer = Self::new(status).header("X-Error-Message", message);
        if !code.is_empty() {
            answer = answer.header("X-Error-Code", code);
        }
        answer.body = json!({ "error": message }).to_string().into_bytes();
        answer
    }
}

/// Serves one connection.
pub(crate) fn serve(stream: &TcpStream, state: &State) -> io::Result<()> {
    let request = read_request(stream)?;
    let path = request.path.trim_start_matches('/');
    if let Some(rest) = path.strip_prefix("api/models/") {
        state.api.fetch_add(1, Ordering::AcqRel);
        let answer = api(rest, &request, state);
        return write_head(stream, &answer, answer.body.len()).and_then(|()| {
            let mut body = stream;
            body.write_all(&answer.body)
        });
    }
    let Some(asked) = Asked::of(path) else {
        return write_head(stream, &no_repository(&request), 0);
    };
    let head = request.method == "HEAD";
    count(&asked, &request, state);
    if hangs_up(&asked, state) {
        return Ok(());
    }
    let (answer, fault) = file(&asked, &request, state);
    let length = answer.body.len();
    // A redirect's length is that of its own text; elsewhere it is that of the body, which a HEAD leaves out.
    write_head(stream, &answer, length)?;
    if head {
        return Ok(());
    }
    write_body(stream, &answer.body, fault.as_ref(), state)
}

/// An address of a file.
struct Asked<'a> {
    place: Place,
    repository: &'a str,
    revision: &'a str,
    file: &'a str,
}

/// Where it is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Under the repository's name.
    Hub,
    /// Where small files are, within the hub.
    Cache,
    /// Where large files are, on another host.
    Store,
}

impl<'a> Asked<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let path = path.split('?').next()?;
        if let Some(rest) = path.strip_prefix("api/resolve-cache/models/") {
            let at = rest.find(COMMIT)?;
            return Some(Self {
                place: Place::Cache,
                repository: rest[..at].strip_suffix('/')?,
                revision: COMMIT,
                file: rest[at + COMMIT.len()..].strip_prefix('/')?,
            });
        }
        let (place, path) = match path.strip_prefix("store/") {
            Some(rest) => (Place::Store, rest),
            None => (Place::Hub, path),
        };
        let (repository, rest) = path.split_once("/resolve/")?;
        let (revision, file) = rest.split_once('/')?;
        Some(Self {
            place,
            repository,
            revision,
            file,
        })
    }
}

fn count(asked: &Asked, request: &Request, state: &State) {
    let counter = match (asked.place, request.method.as_str()) {
        (Place::Store, _) if request.has_token => &state.strayed_tokens,
        (Place::Store, _) => return,
        (_, "HEAD") => &state.heads,
        _ => &state.gets,
    };
    counter.fetch_add(1, Ordering::AcqRel);
}

fn read_request(stream: &TcpStream) -> io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        range_from: None,
        has_token: false,
        port: None,
    };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(request);
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let from = value.trim_start_matches("bytes=").split('-').next();
                request.range_from = from.and_then(|from| from.parse().ok());
            }
            "authorization" => request.has_token = true,
            "host" => request.port = value.rsplit(':').next().and_then(|port| port.parse().ok()),
            _ => {}
        }
    }
}

fn write_head(mut stream: &TcpStream, answer: &Answer, length: usize) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.extend([name, ": ", value.as_str(), "\r\n"]);
    }
    let length = length.to_string();
    head.extend([
        "Content-Length: ",
        length.as_str(),
        "\r\nConnection: close\r\n\r\n",
    ]);
    stream.write_all(head.as_bytes())
}

fn write_body(
    mut stream: &TcpStream,
    body: &[u8],
    fault: Option<&Fault>,
    state: &State,
) -> io::Result<()> {
    let sent = match fault {
        Some(Fault::Cut { after, .. } | Fault::CutWhole { after } | Fault::Stall { after }) => {
            &body[..body.len().min(*after)]
        }
        _ => body,
    };
    let (part, rate) = match fault {
        Some(Fault::Slow { rate }) => (PART, f64::from(*rate)),
        _ => (sent.len().max(1), f64::INFINITY),
    };
    for part in sent.chunks(part) {
        stream.write_all(part)?;
        state.bytes.fetch_add(part.len() as u64, Ordering::AcqRel);
        thread::sleep(Duration::from_secs_f64(part.len() as f64 / rate));
    }
    while matches!(fault, Some(Fault::Stall { .. })) && !state.stopped.load(Ordering::Acquire) {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn api(path: &str, request: &Request, state: &State) -> Answer {
    let (name, revision) = path.split_once("/revision/").unwrap_or((path, "main"));
    let mut repositories = state.repositories();
    if let Some(new) = renamed(&repositories, name) {
        return redirect(format!("/api/models/{new}/revision/{revision}"));
    }
    let Some(repository) = repositories.get_mut(name) else {
        return no_repository(request);
    };
    if let Some(refusal) = refuse(repository, request).or_else(|| hidden(repository, request)) {
        return refusal;
    }
    if !repository.has_revision(revision) {
        return Answer::refusal("404 Not Found", "RevisionNotFound", "Invalid rev id");
    }
    let siblings: Vec<_> = repository
        .files
        .keys()
        .map(|path| json!({ "rfilename": path }))
        .collect();
    let mut answer = Answer::new("200 OK").header("Content-Type", "application/json");
    answer.body =
        json!({ "_id": "1", "id": name, "modelId": name, "sha": COMMIT, "siblings": siblings })
            .to_string()
            .into_bytes();
    answer
}

/// The name that a repository has now, where this is one that it had.
fn renamed(repositories: &HashMap<String, Repository>, name: &str) -> Option<String> {
    let has_had = |repository: &&Repository| repository.former.iter().any(|former| former == name);
    Some(repositories.values().find(has_had)?.name.clone())
}

/// As the hub's own, within itself: it names no host, and its length says nothing of what it leads to.
fn redirect(location: String) -> Answer {
    let text = format!("Temporary Redirect. Redirecting to {location}");
    let mut answer = Answer::new("307 Temporary Redirect").header("Location", location);
    answer.body = text.into_bytes();
    answer
}

/// The answer for a file, and the fault that its body is to suffer.
fn file(asked: &Asked, request: &Request, state: &State) -> (Answer, Option<Fault>) {
    let mut repositories = state.repositories();
    let (name, revision, file) = (asked.repository, asked.revision, asked.file);
    if let Some(new) = renamed(&repositories, name) {
        return (redirect(format!("/{new}/resolve/{revision}/{file}")), None);
    }
    let Some(repository) = repositories.get_mut(name) else {
        return (no_repository(request), None);
    };
    if let Some(refusal) = refuse(repository, request) {
        return (refusal, None);
    }
    let refusal = hidden(repository, request).or_else(|| gated(repository, request));
    if let Some(refusal) = refusal.filter(|_| asked.place != Place::Store) {
        return (refusal, None);
    }
    if !repository.has_revision(revision) {
        let refusal = Answer::refusal("404 Not Found", "RevisionNotFound", "Invalid rev id");
        return (refusal, None);
    }
    let Some(contents) = repository.files.get(file) else {
        let refusal = Answer::refusal("404 Not Found", "EntryNotFound", "Entry not found");
        return (refusal, None);
    };
    let hash = etag(file, contents);
    if asked.place == Place::Hub {
        let answer = if is_large(file, contents) {
            to_store(repository, asked, &hash, request.port.unwrap_or(state.port))
        } else {
            to_cache(repository, asked, &hash)
        };
        return (answer, None);
    }
    let answer = contents_answer(repository, file, &hash, request);
    (answer, body_fault(repository, request))
}

/// Away from the hub, with all that it knows of the file: `localhost` is another host than the address in its place.
fn to_store(repository: &Repository, asked: &Asked, hash: &str, port: u16) -> Answer {
    let size = match repository.fault {
        Some(Fault::Announced { size }) => size,
        _ => repository.files[asked.file].len(),
    };
    let (name, revision, file) = (asked.repository, asked.revision, asked.file);
    let location = format!("http://localhost:{port}/store/{name}/resolve/{revision}/{file}");
    Answer::new("302 Found")
        .header("Location", location)
        .header("X-Repo-Commit", COMMIT)
        .header("X-Linked-Etag", format!("\"{hash}\""))
        .header("X-Linked-Size", size.to_string())
}

/// Within the hub, which says the file's hash and length only there.
fn to_cache(repository: &Repository, asked: &Asked, hash: &str) -> Answer {
    let (name, revision, file) = (asked.repository, asked.revision, asked.file);
    if repository.fault == Some(Fault::Circle) {
        return redirect(format!("/{name}/resolve/{revision}/{file}"));
    }
    let own = format!("/{name}/resolve/{revision}/{file}").replace('/', "%2F");
    redirect(format!(
        "/api/resolve-cache/models/{name}/{COMMIT}/{file}?{own}=&etag=%22{hash}%22"
    ))
    .header("X-Repo-Commit", COMMIT)
    .header("Accept-Ranges", "bytes")
}

fn contents_answer(repository: &Repository, file: &str, hash: &str, request: &Request) -> Answer {
    let mut contents = repository.files[file].clone();
    if repository.fault == Some(Fault::WrongContents)
        && let Some(byte) = contents.last_mut()
    {
        *byte ^= 1;
    }
    let from = request.range_from.filter(|_| {
        !matches!(
            repository.fault,
            Some(Fault::NoRanges | Fault::CutWhole { .. })
        )
    });
    let size = contents.len();
    let answer = match from {
        Some(from) if from >= size => {
            return Answer::new("416 Range Not Satisfiable")
                .header("Content-Range", format!("bytes */{size}"));
        }
        Some(from) => {
            contents.drain(..from);
            Answer::new("206 Partial Content")
                .header("Content-Range", format!("bytes {from}-{}/{size}", size - 1))
        }
        None => Answer::new("200 OK"),
    };
    let mut answer = answer
        .header("X-Repo-Commit", COMMIT)
        .header("ETag", format!("\"{hash}\""))
        .header("Accept-Ranges", "bytes");
    if repository.fault == Some(Fault::Compressed) {
        answer = answer.header("Content-Encoding", "gzip");
    }
    answer.body = contents;
    answer
}

/// The fault that this body suffers; counts it.
fn body_fault(repository: &mut Repository, request: &Request) -> Option<Fault> {
    if request.method == "HEAD" {
        return None;
    }
    match &mut repository.fault {
        Some(Fault::Cut { times: 0, .. }) => None,
        Some(Fault::Cut { after, times }) => {
            *times -= 1;
            Some(Fault::Cut {
                after: *after,
                times: *times,
            })
        }
        fault => fault.clone(),
    }
}

/// Whether this request of a file gets no answer; counts it.
fn hangs_up(asked: &Asked, state: &State) -> bool {
    let mut repositories = state.repositories();
    let repository = repositories.get_mut(asked.repository);
    match repository.map(|repository| &mut repository.fault) {
        Some(Some(Fault::HangUp { times })) if *times > 0 => {
            *times -= 1;
            true
        }
        _ => false,
    }
}

fn no_repository(request: &Request) -> Answer {
    if request.has_token {
        Answer::refusal("404 Not Found", "RepoNotFound", "Repository not found")
    } else {
        Answer::refusal("401 Unauthorized", "RepoNotFound", "Repository not found")
    }
}

/// Refusals that the API and the files share.
fn refuse(repository: &mut Repository, request: &Request) -> Option<Answer> {
    match &mut repository.fault {
        Some(Fault::WrongToken) if request.has_token => Some(Answer::refusal(
            "401 Unauthorized",
            "",
            "Invalid credentials in Authorization header",
        )),
        Some(Fault::Forbidden { message: None }) => Some(Answer::new("403 Forbidden")),
        Some(Fault::Forbidden {
            message: Some(message),
        }) => Some(Answer::refusal("403 Forbidden", "", message)),
        Some(Fault::Status { status, times }) if *times > 0 => {
            *times -= 1;
            Some(match status {
                429 => Answer::new("429 Too Many Requests").header("Retry-After", "1"),
                _ => Answer::new("503 Service Unavailable"),
            })
        }
        _ => None,
    }
}

fn hidden(repository: &Repository, request: &Request) -> Option<Answer> {
    let is_hidden = repository.fault == Some(Fault::Private) && !request.has_token;
    is_hidden.then(|| no_repository(request))
}

fn gated(repository: &Repository, request: &Request) -> Option<Answer> {
    if repository.fault != Some(Fault::Gated) {
        return None;
    }
    let message = "Access to this repository is restricted";
    Some(if request.has_token {
        Answer::refusal("403 Forbidden", "GatedRepo", message)
    } else {
        Answer::refusal("401 Unauthorized", "GatedRepo", message)
    })
}
