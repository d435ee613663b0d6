//! A Hub of a few lines for the tests: answers by path over HTTP, and remembers what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the server says to a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How the body's end is told.
    pub(crate) end: End,
    /// Whether it keeps the connection open after the body and says nothing more.
    pub(crate) hangs: bool,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Answer {
        let body = body.into();
        let end = End::Length(body.len());
        Answer { status: 200, headers: Vec::new(), body, end, hangs: false }
    }

    pub(crate) fn status(status: u16) -> Answer {
        Answer { status, ..Answer::ok("") }
    }

    pub(crate) fn redirect(target: impl Into<String>) -> Answer {
        Answer::status(302).header("Location", &target.into())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }
}

/// How a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By its length, right or wrong.
    Length(usize),
    /// By the end of the connection.
    Close,
    /// By a chunk without bytes.
    Chunks,
    /// In chunks of which the last is missing.
    CutChunks,
    /// Not at all: the body comes again and again, in chunks.
    Never,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
}

/// A server on a free port of this machine, until it is dropped.
pub(crate) struct HubServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl HubServer {
    /// Answers these paths; any other is a 404.
    pub(crate) fn start(answers: impl IntoIterator<Item = (String, Answer)>) -> HubServer {
        let answers: Arc<HashMap<String, Answer>> = Arc::new(answers.into_iter().collect());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its own address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (log, stop) = (Arc::clone(&requests), Arc::clone(&stopped));
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (answers, log, stop) = (answers.clone(), log.clone(), stop.clone());
                // A client may go away at any moment: that is what some tests are about.
                std::thread::spawn(move || {
                    stream.and_then(|stream| serve(stream, &answers, &log, &stop))
                });
            }
        });
        HubServer { address, requests, stopped, acceptor: Some(acceptor) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panics while asking").clone()
    }

    /// Waits until a path ending in this was asked for.
    pub(crate) fn wait_for(&self, ending: &str) {
        for _ in 0..1000 {
            if self.requests().iter().any(|request| request.path.ends_with(ending)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody asked for {ending}: {:?}", self.requests());
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(
    mut stream: TcpStream,
    answers: &HashMap<String, Answer>,
    log: &Mutex<Vec<Request>>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    let mut authorization = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            authorization = Some(value.trim().to_string());
        }
    }
    let answer = answers.get(&path).cloned().unwrap_or(Answer::status(404));
    if let Ok(mut log) = log.lock() {
        log.push(Request { path, authorization });
    }
    write!(stream, "HTTP/1.1 {} Said\r\nConnection: close\r\n", answer.status)?;
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    match answer.end {
        End::Length(length) => write!(stream, "Content-Length: {length}\r\n\r\n")?,
        End::Close => write!(stream, "\r\n")?,
        _ => write!(stream, "Transfer-Encoding: chunked\r\n\r\n")?,
    }
    let mut chunk = answer.body.clone();
    if !matches!(answer.end, End::Length(_) | End::Close) {
        chunk = format!("{:x}\r\n", answer.body.len()).into_bytes();
        chunk.extend(&answer.body);
        chunk.extend(b"\r\n");
    }
    stream.write_all(&chunk)?;
    while answer.end == End::Never && !stop.load(Ordering::SeqCst) {
        stream.write_all(&chunk)?;
    }
    if answer.end == End::Chunks {
        stream.write_all(b"0\r\n\r\n")?;
    }
    stream.flush()?;
    while answer.hangs && !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
