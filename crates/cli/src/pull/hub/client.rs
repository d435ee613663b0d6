//! The Hub over HTTP: one file's address, its redirects and what the headers say of it.
//!
//! Redirects are followed here and not by the HTTP client, for two reasons: the Hub states a large
//! file's SHA-256 (`X-Linked-ETag`) only in the answer that redirects to the storage, and the
//! access token must not travel there.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, StatusCode, Uri, header};
use ureq::{Agent, Body, BodyReader};

use super::HubError;
use crate::environment::Environment;
use crate::model_cache::ModelId;

const ENDPOINT: &str = "https://huggingface.co";
const MOST_REDIRECTS: usize = 8;

/// How long to wait for what. An address that does not answer is given up soon, since there may be
/// another way; a download may take as long as it likes while bytes keep coming at a rate of any use.
#[derive(Clone, Copy, Debug)]
struct Patience {
    connect: Duration,
    silence: Duration,
    pace: Pace,
}

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    silence: Duration::from_secs(30),
    // A server that sends a byte every now and then would hold a pull for years.
    pace: Pace { window: Duration::from_secs(60), bytes: 60 << 10 },
};

/// The slowest download that is still waited for: so many bytes in each window of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    window: Duration,
    bytes: u64,
}

/// A body that ends in an error if it comes slower than the [`Pace`].
pub(super) struct Paced<R> {
    body: R,
    pace: Pace,
    since: Instant,
    received: u64,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.received += read as u64;
        let passed = self.since.elapsed();
        if read > 0 && passed >= self.pace.window {
            if self.received < self.pace.bytes {
                let (bytes, seconds) = (self.received, passed.as_secs_f64());
                let slow = format!("only {bytes} bytes came in the last {seconds:.0} seconds");
                return Err(io::Error::new(io::ErrorKind::TimedOut, slow));
            }
            (self.since, self.received) = (Instant::now(), 0);
        }
        Ok(read)
    }
}

/// The Hub, or a mirror of it.
pub(crate) struct Hub {
    agent: Agent,
    endpoint: String,
    origin: Origin,
    token: Option<String>,
    pace: Pace,
}

/// A file that the Hub has begun to send.
pub(crate) struct Download {
    /// The bytes.
    pub(super) body: Paced<BodyReader<'static>>,
    /// How many there should be.
    pub(crate) bytes: Option<u64>,
    /// The digest that the Hub states.
    pub(crate) digest: Option<Digest>,
    /// The commit that it belongs to.
    pub(crate) commit: Option<String>,
    /// Its address on the Hub.
    pub(crate) url: String,
}

/// A digest that the Hub states, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    /// Of a file in its large-file storage.
    Sha256(String),
    /// Of a file that lies in the git repository itself.
    GitBlob(String),
}

impl Digest {
    /// Reads what an `ETag` header or a listing holds, if that is one of these digests.
    pub(crate) fn parse(text: &str) -> Option<Digest> {
        let text = text.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        match text.len() {
            64 if is_hexadecimal(&text) => Some(Digest::Sha256(text)),
            40 if is_hexadecimal(&text) => Some(Digest::GitBlob(text)),
            _ => None,
        }
    }
}

impl Hub {
    /// The Hub that the environment asks for.
    ///
    /// # Errors
    /// If it says to stay offline, or its endpoint or token cannot be used.
    pub(crate) fn new(environment: &Environment) -> Result<Hub, HubError> {
        Hub::with_patience(environment, PATIENCE)
    }

    fn with_patience(environment: &Environment, patience: Patience) -> Result<Hub, HubError> {
        if environment.hub_offline {
            return Err(HubError::Offline);
        }
        let endpoint = environment.hub_endpoint.as_deref().unwrap_or(ENDPOINT);
        let endpoint = endpoint.trim().trim_end_matches('/').to_string();
        let wrong = || HubError::Endpoint { endpoint: endpoint.clone() };
        let address: Uri = endpoint.parse().map_err(|_| wrong())?;
        let origin = Origin::of(&address).filter(|_| address.query().is_none());
        let origin = origin.ok_or_else(wrong)?;
        let token = environment.hub_token.clone();
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(HubError::Token);
        }
        let agent = Agent::config_builder()
            .user_agent(concat!("adaptkit/", env!("CARGO_PKG_VERSION")))
            .proxy(environment.proxy.clone())
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_per_read(Some(patience.silence))
            .timeout_recv_response(Some(patience.silence))
            .build()
            .new_agent();
        Ok(Hub { agent, endpoint, origin, token, pace: patience.pace })
    }

    /// Where it is.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A file's address. Names are checked before they come here, and need no escapes.
    pub(crate) fn url(&self, id: &ModelId, revision: &str, file: &str) -> String {
        format!("{}/{}/resolve/{revision}/{file}", self.endpoint, id.as_str())
    }

    /// Asks for a file and follows the Hub to where it is stored.
    ///
    /// # Errors
    /// If nobody answers, or not with the file.
    pub(crate) fn open(
        &self,
        id: &ModelId,
        revision: &str,
        file: &str,
    ) -> Result<Download, HubError> {
        self.get(id, self.url(id, revision, file), file)
    }

    /// Asks for the list of the files at the top of a model's repository.
    ///
    /// # Errors
    /// As [`Hub::open`].
    pub(crate) fn open_listing(&self, id: &ModelId, revision: &str) -> Result<Download, HubError> {
        let url = format!("{}/api/models/{}/tree/{revision}", self.endpoint, id.as_str());
        self.get(id, url, "list of files")
    }

    fn get(&self, id: &ModelId, url: String, file: &str) -> Result<Download, HubError> {
        let mut address: Uri =
            url.parse().map_err(|_| HubError::Endpoint { endpoint: self.endpoint.clone() })?;
        let mut stated = Stated::default();
        for _ in 0..=MOST_REDIRECTS {
            let at_hub = Origin::of(&address).as_ref() == Some(&self.origin);
            let mut request = self.agent.get(&address).header(header::ACCEPT_ENCODING, "identity");
            if let Some(token) = self.token.as_ref().filter(|_| at_hub) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|source| HubError::Unreachable {
                endpoint: self.endpoint.clone(),
                source: Box::new(source),
            })?;
            let status = response.status();
            if at_hub {
                stated.read(status, response.headers());
            }
            if status.is_redirection() {
                address = follow(&url, &address, response.headers())?;
            } else if status == StatusCode::OK {
                check_form(&url, response.headers())?;
                return Ok(stated.download(url, response.into_body(), self.pace));
            } else {
                return Err(self.refusal(id, file, url, status, response.headers()));
            }
        }
        let target = address.to_string();
        Err(HubError::Redirect { url, target, reason: "and so on without end" })
    }

    /// What an answer without the file means.
    fn refusal(
        &self,
        id: &ModelId,
        file: &str,
        url: String,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> HubError {
        let (endpoint, model) = (self.endpoint.clone(), id.as_str().to_string());
        let code = headers.get("x-error-code").and_then(|code| code.to_str().ok());
        match (status.as_u16(), code) {
            (status @ (401 | 403), _) => {
                let with_token = self.token.is_some();
                HubError::Refused { endpoint, model, status, with_token }
            }
            (404, Some("RepoNotFound")) => HubError::NoModel { endpoint, model },
            (404, _) => HubError::NoFile { endpoint, model, file: file.to_string() },
            (status, _) => HubError::Status { url, status },
        }
    }
}

/// Whether the body is the file itself, byte by byte, as the headers have it.
fn check_form(url: &str, headers: &HeaderMap) -> Result<(), HubError> {
    let codings = [(header::CONTENT_ENCODING, "identity"), (header::TRANSFER_ENCODING, "chunked")];
    for (name, harmless) in codings {
        for value in headers.get_all(name) {
            let coding = String::from_utf8_lossy(value.as_bytes()).trim().to_string();
            if !coding.is_empty() && !coding.eq_ignore_ascii_case(harmless) {
                return Err(HubError::Encoded { url: url.to_string(), coding });
            }
        }
    }
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    match kind {
        Some(kind) if is_page(kind) => Err(HubError::WebPage { url: url.to_string() }),
        _ => Ok(()),
    }
}

/// Whether a content type is that of a web page.
fn is_page(kind: &[u8]) -> bool {
    let kind = kind.trim_ascii().to_ascii_lowercase();
    [&b"text/html"[..], b"application/xhtml"].iter().any(|page| kind.starts_with(page))
}

/// Where a redirect leads.
fn follow(url: &str, from: &Uri, headers: &HeaderMap) -> Result<Uri, HubError> {
    let target = headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let target = target.unwrap_or_default();
    let wrong =
        |reason| HubError::Redirect { url: url.to_string(), target: target.to_string(), reason };
    let scheme = from.scheme_str().unwrap_or_default();
    let authority = from.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let absolute = if target.contains("://") {
        target.to_string()
    } else if target.starts_with("//") {
        format!("{scheme}:{target}")
    } else if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else {
        return Err(wrong("which is no address"));
    };
    let address: Uri = absolute.parse().map_err(|_| wrong("which is no address"))?;
    match Origin::of(&address) {
        None => Err(wrong("which is no address")),
        Some(origin) if scheme == "https" && origin.scheme != "https" => {
            Err(wrong("which is not encrypted"))
        }
        Some(_) => Ok(address),
    }
}

/// Whom a request goes to: the token is for one of these alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    fn of(address: &Uri) -> Option<Origin> {
        let scheme = address.scheme_str()?.to_ascii_lowercase();
        let usual_port = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let host = address.host()?.to_ascii_lowercase();
        let port = address.port_u16().unwrap_or(usual_port);
        (!host.is_empty()).then_some(Origin { scheme, host, port })
    }
}

/// What the Hub's own answers say of a file. The storage's headers do not count.
#[derive(Default)]
struct Stated {
    bytes: Option<u64>,
    digest: Option<Digest>,
    commit: Option<String>,
}

impl Stated {
    fn read(&mut self, status: StatusCode, headers: &HeaderMap) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(bytes) = text("x-linked-size").and_then(|size| size.parse().ok()) {
            self.bytes.get_or_insert(bytes);
        }
        // What is linked to is the file; the own tag of a redirection is that of the link.
        let own = text("etag").filter(|_| status == StatusCode::OK);
        let etag = text("x-linked-etag").or(own);
        if let Some(digest) = etag.and_then(Digest::parse) {
            self.digest.get_or_insert(digest);
        }
        let is_commit = |commit: &&str| commit.len() == 40 && is_hexadecimal(commit);
        if let Some(commit) = text("x-repo-commit").filter(is_commit) {
            self.commit.get_or_insert(commit.to_string());
        }
    }

    fn download(self, url: String, body: Body, pace: Pace) -> Download {
        let bytes = self.bytes.or(body.content_length());
        let body = body.into_reader();
        let body = Paced { body, pace, since: Instant::now(), received: 0 };
        Download { body, bytes, digest: self.digest, commit: self.commit, url }
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn environment(endpoint: &str) -> Environment {
        let endpoint = endpoint.to_string();
        Environment::from_lookup(move |name| {
            (name == "HF_ENDPOINT").then(|| endpoint.clone().into())
        })
    }

    #[test]
    fn an_endpoint_is_an_http_address() {
        let cases = [
            ("https://huggingface.co", true),
            ("https://huggingface.co/", true),
            ("http://127.0.0.1:8000/mirror", true),
            ("huggingface.co", false),
            ("ftp://huggingface.co", false),
            ("https://", false),
            ("https://host/?a=b", false),
            ("nonsense with spaces", false),
        ];
        for (endpoint, expected) in cases {
            assert_eq!(Hub::new(&environment(endpoint)).is_ok(), expected, "{endpoint}");
        }
    }

    #[test]
    fn redirects_are_resolved_and_never_leave_encryption() {
        let cases = [
            ("https://hub/a/b", "/c?d=e", Some("https://hub/c?d=e")),
            ("http://hub:81/a/b", "/c", Some("http://hub:81/c")),
            ("https://hub/a", "//cdn/c", Some("https://cdn/c")),
            ("https://hub/a", "https://cdn/c", Some("https://cdn/c")),
            ("http://hub/a", "https://cdn/c", Some("https://cdn/c")),
            ("https://hub/a", "http://cdn/c", None),
            ("https://hub/a", "file:///etc/passwd", None),
            ("https://hub/a", "", None),
        ];
        for (from, location, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, location.parse().unwrap());
            let found = follow("", &from.parse().unwrap(), &headers).ok();
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), expected, "{from} {location}");
        }
    }

    #[test]
    fn the_token_s_origin_is_scheme_host_and_port() {
        let of = |address: &str| Origin::of(&address.parse().unwrap());
        assert_eq!(of("https://Hub/a"), of("https://hub:443/b"));
        for other in ["http://hub", "https://hub:444", "https://cdn.hub", "https://hub.evil"] {
            assert_ne!(of("https://hub"), of(other), "{other}");
        }
    }

    #[test]
    fn a_download_that_trickles_is_given_up() {
        /// A byte at a time.
        struct Trickle(Duration);
        impl Read for Trickle {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                std::thread::sleep(self.0);
                buffer[0] = b'x';
                Ok(1)
            }
        }
        let pace = Pace { window: Duration::from_millis(40), bytes: 1000 };
        let body = Trickle(Duration::from_millis(5));
        let mut paced = Paced { body, pace, since: Instant::now(), received: 0 };
        let error = std::io::copy(&mut paced, &mut io::sink()).expect_err("it never ends");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().starts_with("only "), "{error}");
    }

    #[test]
    fn digests_are_told_from_other_tags() {
        let (long, short) = ("A1".repeat(32), "b2".repeat(20));
        let cases = [
            (long.clone(), Some(Digest::Sha256(long.to_ascii_lowercase()))),
            (format!("\"{short}\""), Some(Digest::GitBlob(short.clone()))),
            (format!("W/\"{short}\""), Some(Digest::GitBlob(short.clone()))),
            ("\"5f3-61a\"".to_string(), None),
            ("g".repeat(40), None),
            (short[1..].to_string(), None),
            (String::new(), None),
        ];
        for (text, expected) in cases {
            assert_eq!(Digest::parse(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_download_that_falls_silent_is_given_up() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (finished, wait) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
            let _ = wait.recv();
        });
        let short = Duration::from_millis(200);
        let pace = Pace { window: Duration::from_secs(60), bytes: 1 };
        let patience = Patience { connect: short, silence: short, pace };
        let hub = Hub::with_patience(&environment(&endpoint), patience).unwrap();
        let mut file = hub.open(&ModelId::parse("a/b").unwrap(), "main", "config.json").unwrap();
        let mut received = Vec::new();
        file.body.read_to_end(&mut received).expect_err("the server says no more");
        assert_eq!(received, b"half");
        drop(finished);
        server.join().unwrap();
    }
}
