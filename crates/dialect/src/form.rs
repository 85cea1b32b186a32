//! Forms of `multipart/form-data` (RFC 7578): the parts `model` and `stream`, and where they are.
//!
//! Readers of forms differ in what they forgive. What two of them could read in different ways is an
//! error here, so that a runtime finds the model that the key was checked for.

use std::ops::Range;

use memchr::memmem;

use crate::content_type::ContentType;
use crate::endpoint::Endpoint;
use crate::request::{FormSpans, RequestError, RequestInfo, Spans, model_name, shown};

/// The longest boundary (RFC 2046, 5.1.1), in bytes.
const MAX_BOUNDARY_BYTES: usize = 70;
/// The longest head of a part, in bytes.
const MAX_PART_HEAD_BYTES: usize = 8 * 1024;
/// The most parts before `model`.
const MAX_PARTS_BEFORE_MODEL: usize = 32;
/// The most parts.
const MAX_PARTS: usize = 128;
/// The longest content of the part `model`, in bytes.
const MAX_MODEL_BYTES: usize = 256;

/// A form that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The `Content-Type` has no boundary that can be one.
    #[error(
        "the Content-Type of the form has no boundary, expected one of 1 to {MAX_BOUNDARY_BYTES} characters"
    )]
    Boundary,
    /// The body does not begin with the boundary.
    #[error("the form does not begin with its boundary")]
    Start,
    /// The form is cut, or goes on behind its end.
    #[error("the form does not end with its boundary")]
    End,
    /// A part cannot be read.
    #[error("part {part} of the form has {problem}")]
    Part {
        /// The number of the part, from 1.
        part: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There are too many parts.
    #[error("the form has more than {MAX_PARTS} parts")]
    TooManyParts,
    /// There are too many parts before the model.
    #[error("the form has more than {MAX_PARTS_BEFORE_MODEL} parts before `model`")]
    LateModel,
    /// A part is there twice.
    #[error("the part `{name}` is there twice, expected once")]
    Duplicate {
        /// Its name.
        name: &'static str,
    },
    /// A part is a file, or is encoded.
    #[error("the part `{name}` is a file or encoded, expected plain text")]
    NotText {
        /// Its name.
        name: &'static str,
    },
    /// The model is too long.
    #[error("the part `model` has {bytes} bytes, expected at most {MAX_MODEL_BYTES}")]
    LongModel {
        /// Its length.
        bytes: usize,
    },
    /// The value of `stream` is wrong.
    #[error("the part `stream` is {found}, expected true or false")]
    Stream {
        /// The value.
        found: String,
    },
}

impl FormError {
    /// Returns the name of the part that is wrong. `None` if it is the form as a whole.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Duplicate { name } | Self::NotText { name } => Some(name),
            Self::LateModel | Self::LongModel { .. } => Some("model"),
            Self::Stream { .. } => Some("stream"),
            _ => None,
        }
    }
}

/// A part of a form.
struct Part<'a> {
    name: &'a str,
    is_file: bool,
    /// Whether the content is coded in a way that readers may resolve or not.
    is_encoded: bool,
    content: Range<usize>,
}

/// Reads a request that is a form.
pub(crate) fn read(
    endpoint: Endpoint,
    boundary: Option<&str>,
    body: &[u8],
) -> Result<RequestInfo, RequestError> {
    let is_boundary = |text: &&str| (1..=MAX_BOUNDARY_BYTES).contains(&text.len());
    let is_plain = |text: &&str| {
        text.bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    let boundary = boundary
        .filter(is_boundary)
        .filter(is_plain)
        .ok_or(FormError::Boundary)?;

    let mut parts = Parts::new(boundary, body)?;
    let mut info = RequestInfo::new(endpoint);
    let mut spans = FormSpans {
        boundary: boundary.to_owned(),
        start: parts.start(),
        ..FormSpans::default()
    };
    while let Some(part) = parts.next()? {
        match part.name {
            "model" => {
                let text = text_of(&part, "model", &spans.model, body)?;
                info.model = model(text)?;
                spans.model = Some(part.content);
            }
            "stream" => {
                let text = text_of(&part, "stream", &spans.stream, body)?;
                info.stream = stream(text)?;
                spans.stream = Some(part.content);
            }
            "prompt" => info.prompt_bytes += part.content.len() as u64,
            _ => info.media += u32::from(part.is_file),
        }
        if spans.model.is_none() && parts.count > MAX_PARTS_BEFORE_MODEL {
            return Err(FormError::LateModel.into());
        }
    }
    info.has_prompt = info.prompt_bytes > 0 || info.media > 0;
    info.must_stay_as_asked = true;
    info.spans = Spans::Form(spans);
    Ok(info)
}

/// Returns the content of a part that is read, if it is the first of its name.
fn text_of<'a>(
    part: &Part<'_>,
    name: &'static str,
    earlier: &Option<Range<usize>>,
    body: &'a [u8],
) -> Result<&'a [u8], FormError> {
    if earlier.is_some() {
        return Err(FormError::Duplicate { name });
    }
    if part.is_file || part.is_encoded {
        return Err(FormError::NotText { name });
    }
    Ok(&body[part.content.clone()])
}

fn model(content: &[u8]) -> Result<Option<String>, RequestError> {
    if content.len() > MAX_MODEL_BYTES {
        let bytes = content.len();
        return Err(FormError::LongModel { bytes }.into());
    }
    match std::str::from_utf8(content) {
        Ok(name) => model_name(name.to_owned()),
        Err(_) => Err(RequestError::UnprintableModelName {
            found: shown(&String::from_utf8_lossy(content)),
        }),
    }
}

/// Returns the value of `stream`, in the spellings that servers of forms take.
fn stream(content: &[u8]) -> Result<Option<bool>, FormError> {
    let text = String::from_utf8_lossy(content);
    match &*text.to_ascii_lowercase() {
        "" => Ok(None),
        "true" | "1" | "on" | "yes" => Ok(Some(true)),
        "false" | "0" | "off" | "no" => Ok(Some(false)),
        _ => Err(FormError::Stream {
            found: shown(&text),
        }),
    }
}

/// The parts of a form, in order.
struct Parts<'a> {
    body: &'a [u8],
    /// A line end, two dashes and the boundary.
    delimiter: String,
    /// Behind the last boundary. `None` at the end.
    at: Option<usize>,
    /// The number of parts so far.
    count: usize,
}

impl<'a> Parts<'a> {
    fn new(boundary: &str, body: &'a [u8]) -> Result<Self, FormError> {
        let delimiter = format!("\r\n--{boundary}");
        let first = &delimiter.as_bytes()[2..];
        let at = if body.starts_with(first) {
            first.len()
        } else if body.starts_with(delimiter.as_bytes()) {
            delimiter.len()
        } else {
            return Err(FormError::Start);
        };
        Ok(Self {
            body,
            delimiter,
            at: Some(at),
            count: 0,
        })
    }

    /// Returns where the first boundary begins.
    fn start(&self) -> usize {
        let behind = self.at.unwrap_or_default();
        behind.saturating_sub(self.delimiter.len() - 2)
    }

    /// Returns the next part, or `None` behind the last one.
    fn next(&mut self) -> Result<Option<Part<'a>>, FormError> {
        let Some(at) = self.at else {
            return Ok(None);
        };
        let rest = &self.body[at..];
        if let Some(behind) = rest.strip_prefix(b"--") {
            // What stands there is no part for a strict reader, and may be one for another.
            let is_end = behind.trim_ascii().is_empty();
            self.at = None;
            return if is_end {
                Ok(None)
            } else {
                Err(FormError::End)
            };
        }
        self.count += 1;
        if self.count > MAX_PARTS {
            return Err(FormError::TooManyParts);
        }

        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
        let line_end = at + padding.count();
        let (head, content) = self.head(line_end)?;
        let end = self.content_end(content)?;
        self.at = Some(end + self.delimiter.len());
        self.part(head, content..end).map(Some)
    }

    /// Returns where the content that begins at `start` ends.
    ///
    /// Some readers take a boundary behind a single line end, or at the beginning of a content, and
    /// others take it for content.
    fn content_end(&self, start: usize) -> Result<usize, FormError> {
        let boundary = &self.delimiter.as_bytes()[2..];
        for found in memmem::find_iter(&self.body[start..], boundary) {
            let before = &self.body[start..start + found];
            if let Some(content) = before.strip_suffix(b"\r\n") {
                return Ok(start + content.len());
            }
            if before.is_empty() || before.ends_with(b"\r") || before.ends_with(b"\n") {
                return Err(self.wrong_part("a boundary without its line end"));
            }
        }
        Err(FormError::End)
    }

    /// Returns the head of a part, which begins with a line end at `at`, and where its content
    /// begins.
    fn head(&self, at: usize) -> Result<(&'a str, usize), FormError> {
        let rest = &self.body[at..];
        let bounded = &rest[..rest.len().min(MAX_PART_HEAD_BYTES)];
        if !bounded.starts_with(b"\r\n") {
            return Err(self.wrong_part("a boundary that no line end follows"));
        }
        let length = memmem::find(bounded, b"\r\n\r\n")
            .ok_or(self.wrong_part("no head, or one that is too long"))?;
        let head = bounded.get(2..length).unwrap_or_default();
        let head =
            std::str::from_utf8(head).map_err(|_| self.wrong_part("a head that is no UTF-8"))?;
        Ok((head, at + length + 4))
    }

    fn part(&self, head: &'a str, content: Range<usize>) -> Result<Part<'a>, FormError> {
        let mut disposition = None;
        let mut is_encoded = false;
        for line in head.split("\r\n") {
            let (name, value) = line
                .split_once(':')
                .ok_or(self.wrong_part("a line that is no header"))?;
            if name.trim() != name || line.contains(['\r', '\n', '\0']) {
                return Err(self.wrong_part("a header with white space before its colon"));
            }
            if name.eq_ignore_ascii_case("content-disposition")
                && disposition.replace(ContentType::parse(value)).is_some()
            {
                return Err(self.wrong_part("two headers Content-Disposition"));
            }
            let is_plain = ["7bit", "8bit", "binary"]
                .iter()
                .any(|coding| value.trim().eq_ignore_ascii_case(coding));
            is_encoded |= name.eq_ignore_ascii_case("content-transfer-encoding") && !is_plain;
        }

        let disposition = disposition
            .filter(|disposition| disposition.is("form-data") && !disposition.is_broken())
            .ok_or(self.wrong_part("no header Content-Disposition of form-data"))?;
        let name = disposition
            .parameter("name")
            .filter(|name| !name.contains('\\') && !disposition.has_parameter("name*"))
            .ok_or(self.wrong_part("no name, or one that can be read in two ways"))?;
        let is_file =
            disposition.has_parameter("filename") || disposition.has_parameter("filename*");
        Ok(Part {
            name,
            is_file,
            is_encoded,
            content,
        })
    }

    fn wrong_part(&self, problem: &'static str) -> FormError {
        FormError::Part {
            part: self.count,
            problem,
        }
    }
}
