//! Forms of `multipart/form-data` (RFC 7578): the parts `model` and `stream`, and where they are.
//!
//! Readers of forms differ in what they forgive. A form that two of them could read in different
//! ways is an error here, so that a runtime finds the model that the key was checked for.

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
        /// The problem of the part.
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
    /// True if the content is coded in a way that readers may resolve or not.
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
            // A strict reader finds no part behind the end, and another one may.
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::endpoint::Endpoint::{ImageEdits, Transcriptions};
    use crate::request::read_request;

    /// Returns a form of parts, each the rest of its head and its content.
    fn form(parts: &[(&str, &str)]) -> String {
        let mut form = String::new();
        for (head, content) in parts {
            let head = format!("Content-Disposition: form-data; {head}");
            form += &format!("--B\r\n{head}\r\n\r\n{content}\r\n");
        }
        form + "--B--\r\n"
    }

    fn read_form(body: &str) -> Result<RequestInfo, RequestError> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        read_request(
            Transcriptions,
            Some("multipart/form-data; boundary=B"),
            &body,
        )
    }

    fn error(body: &str) -> String {
        read_form(body).unwrap_err().to_string()
    }

    #[test]
    fn the_parts_that_matter_are_read() {
        let body = form(&[
            (
                "name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav",
                "\0\r\n--\r\n-B\n",
            ),
            ("name=model", "whisper"),
            ("name=\"stream\"", "True"),
            ("name=\"prompt\"", "12345"),
        ]);
        let info = read_form(&body).unwrap();

        assert_eq!(info.model.as_deref(), Some("whisper"));
        assert_eq!(info.stream, Some(true));
        assert_eq!((info.prompt_bytes, info.media), (5, 1));
        assert!(info.has_prompt && info.must_stay_as_asked && !info.is_repeatable);
        assert_eq!(info.prefix_marks(&Bytes::from(body), 1), []);
    }

    #[test]
    fn models_and_streams_may_be_missing_or_empty() {
        let empty = form(&[("name=model", ""), ("name=stream", "")]);

        for body in [empty.as_str(), "--B--", "--B--\r\n"] {
            let info = read_form(body).unwrap();
            assert_eq!((info.model, info.stream), (None, None), "{body}");
        }
    }

    #[test]
    fn a_form_may_begin_with_a_line_end_and_pad_its_boundaries() {
        let body = "\r\n--B \t\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n--B--  ";

        assert_eq!(read_form(body).unwrap().model.as_deref(), Some("m"));
    }

    #[test]
    fn a_boundary_must_be_one() {
        let body = Bytes::from(form(&[]));
        let long = format!("boundary={}", "B".repeat(71));
        for parameters in [
            "",
            "boundary=",
            "boundary=\"\"",
            "boundary=\"B C\"",
            "boundary=B; boundary=C",
            &long,
        ] {
            let content_type = format!("multipart/form-data; {parameters}");
            let read = read_request(ImageEdits, Some(&content_type), &body);
            assert_eq!(
                read,
                Err(RequestError::Form(FormError::Boundary)),
                "{parameters}"
            );
        }
        let quoted = Some("multipart/form-data; boundary=\"B\"");
        assert!(read_request(ImageEdits, quoted, &body).is_ok());
    }

    #[test]
    fn forms_that_cannot_be_read_are_named() {
        let cases = [
            ("", "the form does not begin with its boundary"),
            ("x--B--", "the form does not begin with its boundary"),
            (
                "--B",
                "part 1 of the form has a boundary that no line end follows",
            ),
            (
                "--Bx\r\n\r\n",
                "part 1 of the form has a boundary that no line end follows",
            ),
            (
                "--B\r\nA: b\r\n",
                "part 1 of the form has no head, or one that is too long",
            ),
            (
                "--B\r\n\r\n\r\n--B--",
                "part 1 of the form has a line that is no header",
            ),
            (
                "--B\r\nA: b\r\n\r\n\r\n--B--",
                "part 1 of the form has no header Content-Disposition of form-data",
            ),
            ("--B--\r\n--B", "the form does not end with its boundary"),
            (
                "--B\r\nContent-Disposition: form-data; name=a\r\n\r\nb",
                "the form does not end with its boundary",
            ),
            (
                "--B\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--C--",
                "the form does not end with its boundary",
            ),
        ];

        for (body, expected) in cases {
            assert_eq!(error(body), expected, "{body:?}");
        }
    }

    /// Each of these is `model=a` for one reader and something else for another.
    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let head = "Content-Disposition: form-data; name=model";
        let cases = [
            form(&[("name=model", "a"), ("name=model", "b")]),
            form(&[("name=model; name=other", "a")]),
            form(&[("name=model; name*=utf-8''other", "a")]),
            form(&[(r#"name="mo\del""#, "a")]),
            form(&[("name=\"model\"x", "a")]),
            form(&[("name=\"model\"; filename=\"x\"", "a")]),
            form(&[("name=model; filename*=utf-8''x", "a")]),
            form(&[("name=model\r\nContent-Transfer-Encoding: base64", "YQ==")]),
            form(&[(
                "name=model\r\ncontent-disposition: form-data; name=other",
                "a",
            )]),
            form(&[("name=other;\r\n name=model", "a")]),
            form(&[("name=model\n", "a")]),
            "--B\r\nContent-Disposition : form-data; name=model\r\n\r\na\r\n--B--".to_owned(),
            format!("--B\r\nX: y\r\n{head}\r\n\r\na\n--B\r\n{head}\r\n\r\nb\r\n--B--"),
            format!("--B\r\n{head}x\r\n\r\n--B\r\n{head}\r\n\r\nb\r\n--B--"),
            format!("--B\r\n{head}\r\n\r\na\r\n--B--\r\n--B\r\n{head}\r\n\r\nb\r\n--B--"),
        ];

        for body in cases {
            let read = read_form(&body);
            assert!(
                matches!(read, Err(RequestError::Form(_))),
                "{body:?}: {read:?}"
            );
        }
    }

    #[test]
    fn wrong_values_name_their_part() {
        let cases = [
            (
                form(&[("name=model", &"m".repeat(257))]),
                "model",
                "the part `model` has 257 bytes, expected at most 256",
            ),
            (
                form(&[("name=model", "a\tb")]),
                "model",
                r"`model` is a\tb, expected printable characters",
            ),
            (
                form(&[("name=stream", "maybe")]),
                "stream",
                "the part `stream` is maybe, expected true or false",
            ),
            (
                form(&[("name=stream", "1"), ("name=stream", "0")]),
                "stream",
                "the part `stream` is there twice, expected once",
            ),
        ];

        for (body, param, expected) in cases {
            let error = read_form(&body).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.param(), Some(param));
        }
        let no_text = b"--B\r\nContent-Disposition: form-data; name=model\r\n\r\n\xff\r\n--B--";
        let no_text = read(Transcriptions, Some("B"), no_text).unwrap_err();
        assert_eq!(no_text.param(), Some("model"));
    }

    #[test]
    fn the_number_of_parts_has_bounds() {
        let other = ("name=a", "1");
        let with_model = |before, behind| {
            let mut parts = vec![other; before];
            parts.push(("name=model", "m"));
            parts.extend(vec![other; behind]);
            form(&parts)
        };
        let long_head = format!("name=a\r\nX: {}", "y".repeat(8 * 1024));

        assert!(read_form(&with_model(32, 95)).is_ok());
        assert_eq!(
            error(&with_model(33, 0)),
            "the form has more than 32 parts before `model`"
        );
        assert_eq!(
            error(&with_model(0, 128)),
            "the form has more than 128 parts"
        );
        assert_eq!(
            error(&form(&[(&long_head, "")])),
            "part 1 of the form has no head, or one that is too long"
        );
    }

    proptest! {
        /// Whatever is read has its model where it says.
        #[test]
        fn mutated_forms_are_read_or_refused(
            changes in proptest::collection::vec(
                (any::<proptest::sample::Index>(), 0..3_u8, proptest::sample::select(b"\r\n-B\";=: a\\\0\xff".to_vec())),
                1..8,
            ),
        ) {
            let body = form(&[("name=\"a\"; filename=\"f\"", "1"), ("name=\"model\"", "m"), ("name=stream", "1")]);
            let mut bytes = body.into_bytes();
            for (at, change, byte) in changes {
                let at = at.index(bytes.len());
                match change {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            let body = Bytes::from(bytes);
            let content_type = Some("multipart/form-data; boundary=B");

            if let Ok(info) = read_request(Transcriptions, content_type, &body) {
                let mut edits = crate::Edits::new();
                edits.set_model(&info, "other");
                edits.set_stream(&info, false);
                let edited = edits.apply(&body);
                let again = read_request(Transcriptions, content_type, &edited)
                    .map_err(|error| TestCaseError::fail(format!("{edited:?}: {error}")))?;
                prop_assert_eq!(again.model.as_deref(), Some("other"));
                prop_assert_eq!(again.stream, Some(false));
                prop_assert_eq!(again.media, info.media);
            }
        }
    }
}
