//! One end of an HTTP/1.1 connection, byte by byte: a caller that a library would not let do what a test needs, or
//! what a provider sees and says to the last byte.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::soon;

/// One end of a connection.
pub struct RawHttp {
    stream: BufReader<TcpStream>,
    written_names: Vec<String>,
    trailers: Vec<(String, Vec<u8>)>,
}

/// The head of a message: its first line, and its fields in their order, the names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawHead {
    pub line: String,
    pub fields: Vec<(String, Vec<u8>)>,
}

/// How a body ended that was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// As its head or its last chunk says.
    Clean,
    /// The connection ended before that.
    Aborted,
}

impl RawHttp {
    /// A caller of the server with this URL.
    pub async fn to(url: &str) -> Self {
        let address = url
            .strip_prefix("http://")
            .expect("a plain URL")
            .split('/')
            .next()
            .expect("an authority");
        Self::on(
            TcpStream::connect(address)
                .await
                .expect("the server takes a connection"),
        )
    }

    /// This end of a connection.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an open connection");
        Self {
            stream: BufReader::new(stream),
            written_names: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the other end takes it");
    }

    /// Sends bytes to a peer that may have hung up.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        soon(
            "the bytes are taken",
            self.stream.get_mut().write_all(bytes.as_ref()),
        )
        .await
    }

    /// The next message's head.
    pub async fn head(&mut self) -> RawHead {
        self.try_head()
            .await
            .expect("a head, not the end of the connection")
    }

    /// The next message's head; nothing, if the connection ends.
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

    /// The names of the last head's fields, as they were written.
    pub fn written_names(&self) -> &[String] {
        &self.written_names
    }

    /// What followed the last chunk of the body in chunks that was read last, the names as they were written.
    pub fn trailers(&self) -> &[(String, Vec<u8>)] {
        &self.trailers
    }

    /// Fields up to a blank line; nothing, if the connection ends before.
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

    /// The body of a message that must end well.
    pub async fn body(&mut self, head: &RawHead) -> Vec<u8> {
        let (body, end) = self.body_and_end(head).await;
        assert_eq!(
            end,
            BodyEnd::Clean,
            "the body broke off after {} bytes",
            body.len()
        );
        body
    }

    /// The body of a message as far as it comes, and how it ended.
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

    /// The next chunk of a body in chunks; nothing at its end, an error where it breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, BodyEnd> {
        let size = self.line().await.ok_or(BodyEnd::Aborted)?;
        let size = std::str::from_utf8(&size)
            .ok()
            .and_then(|size| usize::from_str_radix(size, 16).ok());
        let mut chunk = Vec::new();
        let size = size.expect("the size of a chunk");
        if size == 0 {
            self.trailers = self.fields().await.ok_or(BodyEnd::Aborted)?;
            return Ok(None);
        }
        if self.exactly(size + 2, &mut chunk).await == BodyEnd::Aborted {
            return Err(BodyEnd::Aborted);
        }
        chunk.truncate(size);
        Ok(Some(chunk))
    }

    /// Everything up to the end of the connection, whether that is an end or a reset.
    pub async fn rest_of_connection(&mut self, bytes: &mut Vec<u8>) {
        // A reset ends it too.
        let _ = soon("the connection ends", self.stream.read_to_end(bytes)).await;
    }

    /// Says that nothing more is sent, to a peer that may have hung up.
    pub async fn try_shut_down(&mut self) -> std::io::Result<()> {
        self.stream.get_mut().shutdown().await
    }

    /// Breaks the connection, as a process does that is killed with bytes unread.
    pub fn reset(self) {
        let stream = self.stream.into_inner();
        stream.set_zero_linger().expect("an open connection");
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let read = soon("a line arrives", self.stream.read_until(b'\n', &mut line)).await;
        if read.is_err() || line.pop() != Some(b'\n') {
            return None;
        }
        line.pop_if(|byte| *byte == b'\r');
        Some(line)
    }

    async fn exactly(&mut self, length: usize, bytes: &mut Vec<u8>) -> BodyEnd {
        let wanted = bytes.len() + length;
        let mut part = (&mut self.stream).take(length as u64);
        // A reset shows in what is missing.
        let _ = soon("the body arrives", part.read_to_end(bytes)).await;
        if bytes.len() == wanted {
            BodyEnd::Clean
        } else {
            BodyEnd::Aborted
        }
    }

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
    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("the line of an answer")
    }

    /// Every value of a header, as text.
    pub fn values(&self, name: &str) -> Vec<String> {
        let values = self.fields.iter().filter(|(field, _)| field == name);
        values
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The fields but for those of these names: every name with its values in their order.
    pub fn without(&self, names: &[&str]) -> std::collections::BTreeMap<String, Vec<Vec<u8>>> {
        let mut fields = std::collections::BTreeMap::<_, Vec<_>>::new();
        for (name, value) in self
            .fields
            .iter()
            .filter(|(name, _)| !names.contains(&name.as_str()))
        {
            fields.entry(name.clone()).or_default().push(value.clone());
        }
        fields
    }
}

/// The bytes of a call as an MCP client makes it; `fields` are more lines of the head, each with its end.
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
