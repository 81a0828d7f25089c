//! A client of a few lines, so that the responses are seen as they are.

use std::collections::BTreeMap;
use std::io::Read as _;

use mimecast_simulator::{Config, EventType, Simulator};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A response as it came.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Whether the body has the length that was promised.
    pub(crate) whole: bool,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn code(&self) -> String {
        self.json()["fail"][0]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// A small tenant at a fixed time.
pub(crate) fn small_config() -> Config {
    Config {
        pages: 2,
        files_per_page: 2,
        records_per_file: 40,
        audit_events: 120,
        types: EventType::ALL.to_vec(),
        now_ms: Some(1_795_331_131_000),
        ..Config::default()
    }
}

/// Sends one request on a connection of its own; `None` when it closes without a response.
pub(crate) async fn send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Response> {
    let rest = url.strip_prefix("http://").unwrap();
    let at = rest.find('/').unwrap();
    let (host, path) = rest.split_at(at);
    let mut stream = TcpStream::connect(host).await.unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // What came before a reset still counts.
    let _ = stream.read_to_end(&mut bytes).await;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let body = bytes[end + 4..].to_vec();
    let whole = headers
        .get("content-length")
        .is_some_and(|length| *length == body.len().to_string());
    Some(Response {
        status,
        headers,
        body,
        whole,
    })
}

/// Asks for an access token.
pub(crate) async fn token(simulator: &Simulator) -> String {
    let (id, secret) = (simulator.client_id(), simulator.client_secret());
    let form = format!("client_id={id}&client_secret={secret}&grant_type=client_credentials");
    let response = send(
        "POST",
        &format!("{}/oauth/token", simulator.api_url()),
        &[],
        &form,
    )
    .await;
    response.unwrap().json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Asks for a page of files; `query` begins with the type.
pub(crate) async fn list(simulator: &Simulator, token: &str, query: &str) -> Response {
    let name = query.split('&').next().unwrap().replace('+', " ");
    let product = EventType::from_name(&name.replace("%20", " ")).map_or("cg", EventType::product);
    let url = format!(
        "{}/siem/v1/batch/events/{product}?type={query}",
        simulator.api_url()
    );
    let bearer = format!("Bearer {token}");
    send("GET", &url, &[("authorization", &bearer)], "")
        .await
        .unwrap()
}

/// Asks for audit events.
pub(crate) async fn audit(simulator: &Simulator, token: &str, body: &Value) -> Response {
    post(simulator, token, "/api/audit/get-audit-events", body).await
}

/// Asks a POST endpoint.
pub(crate) async fn post(simulator: &Simulator, token: &str, path: &str, body: &Value) -> Response {
    let url = format!("{}{path}", simulator.api_url());
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    send("POST", &url, &headers, &body.to_string())
        .await
        .unwrap()
}

/// Asks for single events; `product_and_query` is as in `cg?types=av`.
pub(crate) async fn events(
    simulator: &Simulator,
    token: &str,
    product_and_query: &str,
) -> Response {
    let url = format!("{}/siem/v1/events/{product_and_query}", simulator.api_url());
    let bearer = format!("Bearer {token}");
    send("GET", &url, &[("authorization", &bearer)], "")
        .await
        .unwrap()
}

/// The links of a page.
pub(crate) fn links(page: &Response) -> Vec<String> {
    let page = page.json();
    let files = page["value"].as_array().unwrap();
    files
        .iter()
        .map(|file| file["url"].as_str().unwrap().to_owned())
        .collect()
}

/// Gets a file.
pub(crate) async fn file(url: &str) -> Response {
    send("GET", url, &[], "").await.unwrap()
}

/// Inflates a file, all members of it.
pub(crate) fn inflate(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}

/// Fetches every record of an event type, page by page, and each file once.
pub(crate) async fn pull(simulator: &Simulator, name: &str) -> Vec<Value> {
    let token = token(simulator).await;
    let mut records = Vec::new();
    let mut query = name.replace(' ', "+");
    loop {
        let page = list(simulator, &token, &query).await;
        assert_eq!(page.status, 200, "{page:?}");
        let mut urls = links(&page);
        urls.sort();
        urls.dedup();
        for url in urls {
            let plain = inflate(&file(&url).await.body).unwrap();
            let lines = plain
                .split(|byte| *byte == b'\n')
                .filter(|line| line.len() > 1);
            records.extend(lines.filter_map(|line| serde_json::from_slice(line).ok()));
        }
        let page = page.json();
        if page["isCaughtUp"] == true {
            return records;
        }
        let next = page["@nextPage"].as_str().unwrap().replace('=', "%3D");
        query = format!("{}&nextPage={next}", name.replace(' ', "%20"));
    }
}
