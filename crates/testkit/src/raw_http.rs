//! One end of an HTTP/1.1 connection, byte by byte: a caller or a provider that sends and sees what
//! no library shows.

use std::collections::BTreeMap;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::soon;

/// One end of a connection.
pub struct RawHttp {
    stream: BufReader<TcpStream>,
    written_names: Vec<String>,
    trailers: Vec<(String, Vec<u8>)>,
}

/// The head of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawHead {
    /// The first line.
    pub line: String,
    /// The fields in their order, with their names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// The way a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// By its length, its last chunk, or the end of a connection that frames it.
    Clean,
    /// The connection ended before that.
    Aborted,
}

impl RawHttp {
    /// Connects to the server with this URL.
    pub async fn connect(url: &str) -> Self {
        let rest = url.strip_prefix("http://").expect("a plain URL");
        let address = rest.split('/').next().expect("an authority");
        let stream = TcpStream::connect(address).await;
        Self::from_stream(stream.expect("the server accepts a connection"))
    }

    /// Wraps an open connection.
    pub fn from_stream(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an open connection");
        Self {
            stream: BufReader::new(stream),
            written_names: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.try_send(bytes).await;
        sent.expect("the other end is open");
    }

    /// Sends bytes to a peer that may have hung up.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let write = self.stream.get_mut().write_all(bytes.as_ref());
        soon("the bytes are written", write).await
    }

    /// Reads the next message's head.
    pub async fn head(&mut self) -> RawHead {
        let head = self.try_head().await;
        head.expect("a head, not the end of the connection")
    }

    /// Reads the next message's head. Returns `None` if the connection ends first.
    pub async fn try_head(&mut self) -> Option<RawHead> {
        let line = self.line().await?;
        let fields = self.fields().await?;

        self.written_names = fields.iter().map(|(name, _)| name.clone()).collect();
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        Some(RawHead {
            line: String::from_utf8(line).expect("a first line in ASCII"),
            fields,
        })
    }

    /// Returns the names of the last head's fields as they were written.
    pub fn written_names(&self) -> &[String] {
        &self.written_names
    }

    /// Returns the trailers of the last chunked body, with their names as they were written.
    pub fn trailers(&self) -> &[(String, Vec<u8>)] {
        &self.trailers
    }

    /// Reads fields up to a blank line. Returns `None` if the connection ends first.
    async fn fields(&mut self) -> Option<Vec<(String, Vec<u8>)>> {
        let mut fields = Vec::new();
        loop {
            let field = self.line().await?;
            if field.is_empty() {
                return Some(fields);
            }
            let colon = field
                .iter()
                .position(|&byte| byte == b':')
                .expect("a field with a colon");
            let name = String::from_utf8(field[..colon].to_vec()).expect("a name in ASCII");
            fields.push((name, field[colon + 1..].trim_ascii().to_vec()));
        }
    }

    /// Reads the body of a message. Panics if it is aborted.
    pub async fn body(&mut self, head: &RawHead) -> Vec<u8> {
        let (body, end) = self.body_and_end(head).await;
        let length = body.len();
        assert_eq!(
            end,
            BodyEnd::Clean,
            "the body broke off after {length} bytes"
        );
        body
    }

    /// Reads the body of a message as far as it comes. Returns it and the way it ended.
    pub async fn body_and_end(&mut self, head: &RawHead) -> (Vec<u8>, BodyEnd) {
        let mut body = Vec::new();
        let is_chunked = head.values("transfer-encoding") == ["chunked"];
        let length = head
            .values("content-length")
            .first()
            .map(|length| length.parse::<usize>().expect("a number"));

        let end = match length {
            _ if is_chunked => self.chunks(&mut body).await,
            Some(length) => self.exactly(length, &mut body).await,
            None if head.line.starts_with("HTTP/") => {
                self.rest_of_connection(&mut body).await;
                BodyEnd::Clean
            }
            None => BodyEnd::Clean,
        };
        (body, end)
    }

    /// Reads the next chunk of a chunked body. Returns `None` at its end and `Err` where it is
    /// aborted.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, BodyEnd> {
        let size = self.line().await.ok_or(BodyEnd::Aborted)?;
        let size = std::str::from_utf8(&size)
            .ok()
            .and_then(|size| usize::from_str_radix(size, 16).ok())
            .expect("the size of a chunk");
        if size == 0 {
            self.trailers = self.fields().await.ok_or(BodyEnd::Aborted)?;
            return Ok(None);
        }

        let mut chunk = Vec::new();
        if self.exactly(size + 2, &mut chunk).await == BodyEnd::Aborted {
            return Err(BodyEnd::Aborted);
        }
        chunk.truncate(size);
        Ok(Some(chunk))
    }

    /// Reads up to the end of the connection, be it closed or reset.
    pub async fn rest_of_connection(&mut self, bytes: &mut Vec<u8>) {
        let _ = soon("the connection ends", self.stream.read_to_end(bytes)).await;
    }

    /// Closes the sending half, towards a peer that may have hung up.
    pub async fn try_shut_down(&mut self) -> std::io::Result<()> {
        self.stream.get_mut().shutdown().await
    }

    /// Resets the connection, as the end of a process with unread bytes does.
    pub fn reset(self) {
        let stream = self.stream.into_inner();
        stream.set_zero_linger().expect("an open connection");
    }

    /// Reads a line without its end. Returns `None` if the connection ends first.
    async fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let read = soon("a line arrives", self.stream.read_until(b'\n', &mut line)).await;
        if read.is_err() || line.pop() != Some(b'\n') {
            return None;
        }
        line.pop_if(|byte| *byte == b'\r');
        Some(line)
    }

    /// Reads so many bytes of a body.
    async fn exactly(&mut self, length: usize, bytes: &mut Vec<u8>) -> BodyEnd {
        let wanted = bytes.len() + length;
        let mut part = (&mut self.stream).take(length as u64);
        // A reset shows in the number of bytes.
        let _ = soon("the body arrives", part.read_to_end(bytes)).await;
        if bytes.len() == wanted {
            BodyEnd::Clean
        } else {
            BodyEnd::Aborted
        }
    }

    /// Reads a chunked body.
    async fn chunks(&mut self, body: &mut Vec<u8>) -> BodyEnd {
        loop {
            match self.chunk().await {
                Ok(Some(chunk)) => body.extend(chunk),
                Ok(None) => return BodyEnd::Clean,
                Err(end) => return end,
            }
        }
    }
}

impl RawHead {
    /// Returns the status of an answer.
    pub fn status(&self) -> u16 {
        self.line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("the line of an answer")
    }

    /// Returns every value of a header as text.
    pub fn values(&self, name: &str) -> Vec<String> {
        let fields = self.fields.iter().filter(|(field, _)| field == name);
        fields
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// Returns the fields except those of these names: every name with its values in their order.
    pub fn without(&self, names: &[&str]) -> BTreeMap<String, Vec<Vec<u8>>> {
        let mut fields = BTreeMap::<_, Vec<_>>::new();
        for (name, value) in &self.fields {
            if !names.contains(&name.as_str()) {
                fields.entry(name.clone()).or_default().push(value.clone());
            }
        }
        fields
    }
}

/// Builds the bytes of a call as an MCP client sends it. `fields` are more lines of the head, each
/// with its line end.
pub fn http_request(method: &str, target: &str, fields: impl AsRef<[u8]>, body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n").into_bytes();
    request.extend(b"accept: application/json, text/event-stream\r\n");
    request.extend(fields.as_ref());
    if !body.is_empty() {
        request.extend(format!("content-length: {}\r\n", body.len()).bytes());
    }
    request.extend(b"\r\n");
    request.extend(body);
    request
}
