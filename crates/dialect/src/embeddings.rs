//! One answer to a request for embeddings from the answers to parts of it. The vectors pass as they
//! are, be they numbers or base64: only `index` is numbered anew, and counts are added up.

use std::ops::Range;

use bytes::Bytes;

use crate::endpoint::Endpoint;
use crate::members::{Member, NotJsonError, each_item, each_member, place_of, whole_number};

/// The deepest object in `usage` whose counts are added up.
const MAX_USAGE_DEPTH: usize = 3;

/// An answer to some inputs of a request.
#[derive(Debug, Clone)]
pub struct EmbeddingsPart {
    /// The numbers of the inputs in the request, from 0.
    pub items: Range<usize>,
    /// The runtime's answer.
    pub answer: Bytes,
}

/// The answers are not those to parts of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddingsError {
    /// An answer is no object, or has no list of vectors.
    #[error("the answer has no list of embeddings")]
    Malformed,
    /// An answer has another number of vectors than the request has inputs.
    #[error("the answer has {found} embeddings, expected {expected}")]
    Count {
        /// The vectors.
        found: usize,
        /// The inputs.
        expected: usize,
    },
    /// An item's `index` is none of its list.
    #[error("the answer has the index {index}, expected one below {items}")]
    Index {
        /// The index, as it stands there; cut where it is long.
        index: u64,
        /// The items of the list.
        items: usize,
    },
}

/// The member of an answer that has the vectors, and how an item of it is numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// OpenAI's: objects with `index` and `embedding`.
    Objects,
    /// Ollama's: the vectors themselves.
    Vectors,
}

impl From<NotJsonError> for EmbeddingsError {
    fn from(_: NotJsonError) -> Self {
        Self::Malformed
    }
}

impl Endpoint {
    /// Returns whether a request may be sent in parts, with some of its inputs each.
    pub fn is_divisible(self) -> bool {
        Shape::of(self).is_some()
    }
}

impl Shape {
    fn of(endpoint: Endpoint) -> Option<Self> {
        match endpoint {
            Endpoint::Embeddings => Some(Self::Objects),
            Endpoint::OllamaEmbed => Some(Self::Vectors),
            _ => None,
        }
    }

    fn member(self) -> &'static str {
        match self {
            Self::Objects => "data",
            Self::Vectors => "embeddings",
        }
    }
}

/// Checks that an answer has one vector for each of so many inputs.
///
/// # Errors
///
/// It is not one of the API, or its vectors are not those of the inputs.
pub fn check_embeddings(
    endpoint: Endpoint,
    answer: &[u8],
    inputs: usize,
) -> Result<(), EmbeddingsError> {
    let shape = Shape::of(endpoint).ok_or(EmbeddingsError::Malformed)?;
    let text = std::str::from_utf8(answer).map_err(|_| EmbeddingsError::Malformed)?;
    let list = list_of(shape, text)?;
    let mut out = String::new();
    write_items(shape, list, (0, inputs), &mut out)
}

/// Joins the answers to parts of a request. The members beside the vectors and the counts are those of
/// the first part, to which the parts after it are appended in order.
///
/// # Errors
///
/// One of them is not an answer to its inputs.
pub fn join_embeddings(
    endpoint: Endpoint,
    parts: &[EmbeddingsPart],
) -> Result<Bytes, EmbeddingsError> {
    let shape = Shape::of(endpoint).ok_or(EmbeddingsError::Malformed)?;
    let texts = parts
        .iter()
        .map(|part| std::str::from_utf8(&part.answer).map_err(|_| EmbeddingsError::Malformed));
    let texts: Vec<&str> = texts.collect::<Result<_, _>>()?;
    let first = *texts.first().ok_or(EmbeddingsError::Malformed)?;

    let bytes = texts.iter().map(|text| text.len()).sum();
    let mut items = String::with_capacity(bytes);
    for (part, text) in parts.iter().zip(&texts) {
        if !items.is_empty() {
            items.push(',');
        }
        let place = (part.items.start, part.items.len());
        write_items(shape, list_of(shape, text)?, place, &mut items)?;
    }
    let items = format!("[{items}]");

    let mut joined = Replaced::new(first);
    each_member(first, |member: Member<'_>| {
        if member.name == shape.member() {
            joined.replace(member.value, &items);
        } else if let Some(sum) = sum_of(shape, &member, &texts) {
            joined.replace(member.value, &sum);
        }
        Ok::<(), EmbeddingsError>(())
    })?;
    Ok(Bytes::from(joined.finish()))
}

/// Returns the list of vectors of an answer.
fn list_of(shape: Shape, answer: &str) -> Result<&str, EmbeddingsError> {
    member_of(answer, shape.member()).ok_or(EmbeddingsError::Malformed)
}

/// Writes the items of a list, with commas between them, numbered from `first` on. There must be
/// `expected` of them.
fn write_items(
    shape: Shape,
    list: &str,
    (first, expected): (usize, usize),
    out: &mut String,
) -> Result<(), EmbeddingsError> {
    let mut found = 0;
    each_item(list, |item| {
        if found > 0 {
            out.push(',');
        }
        match shape {
            Shape::Vectors => out.push_str(item),
            Shape::Objects => write_numbered(item, (first, found, expected), out)?,
        }
        found += 1;
        Ok::<(), EmbeddingsError>(())
    })?;
    if found == expected {
        Ok(())
    } else {
        Err(EmbeddingsError::Count { found, expected })
    }
}

/// Writes an item with its number in the whole: its own one, or its place in the list, after `first`.
fn write_numbered(
    item: &str,
    (first, place, items): (usize, usize, usize),
    out: &mut String,
) -> Result<(), EmbeddingsError> {
    let mut numbered = Replaced::new(item);
    let mut has_vector = false;
    each_member(item, |member| {
        has_vector |= member.name == "embedding";
        if member.name != "index" {
            return Ok(());
        }
        let index = whole_number(member.value).unwrap_or(place as u64);
        let own = usize::try_from(index).ok().filter(|own| *own < items);
        let own = own.ok_or(EmbeddingsError::Index { index, items })?;
        numbered.replace(member.value, &(first + own).to_string());
        Ok::<(), EmbeddingsError>(())
    })?;
    if !has_vector {
        return Err(EmbeddingsError::Malformed);
    }
    out.push_str(&numbered.finish());
    Ok(())
}

/// Returns the sum of a member of all answers, `None` for one that is not added up: `usage`, and the
/// counts and times of Ollama.
fn sum_of(shape: Shape, member: &Member<'_>, answers: &[&str]) -> Option<String> {
    let is_count = match shape {
        Shape::Objects => member.name == "usage",
        Shape::Vectors => whole_number(member.value).is_some(),
    };
    let others = answers.iter().skip(1);
    is_count.then(|| {
        others.fold(member.value.to_owned(), |sum, answer| {
            match member_of(answer, &member.name) {
                Some(more) => added(&sum, more, MAX_USAGE_DEPTH),
                None => sum,
            }
        })
    })
}

/// Returns the sum of two values: numbers are added, objects member by member, and everything else is
/// as in the first.
fn added(sum: &str, more: &str, depth: usize) -> String {
    if let (Ok(one), Ok(other)) = (sum.parse::<u64>(), more.parse::<u64>()) {
        return one.saturating_add(other).to_string();
    }
    if depth == 0 {
        return sum.to_owned();
    }
    let mut joined = Replaced::new(sum);
    let walked = each_member(sum, |member| {
        if let Some(other) = member_of(more, &member.name) {
            joined.replace(member.value, &added(member.value, other, depth - 1));
        }
        Ok::<(), NotJsonError>(())
    });
    match walked {
        Ok(()) => joined.finish(),
        Err(NotJsonError) => sum.to_owned(),
    }
}

/// Returns the value of a member of an object, `None` if it has none.
fn member_of<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut found = None;
    let walked = each_member(object, |member| {
        if member.name == name {
            found = Some(member.value);
        }
        Ok::<(), NotJsonError>(())
    });
    walked.ok().and(found)
}

/// A text some of whose parts are replaced, in order.
struct Replaced<'a> {
    text: &'a str,
    /// The end of what was written of the text.
    at: usize,
    out: String,
}

impl<'a> Replaced<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            out: String::with_capacity(text.len()),
        }
    }

    /// Replaces a part of the text, which stands behind the parts before.
    fn replace(&mut self, part: &str, by: &str) {
        let place = place_of(part, self.text);
        let before = self.text.get(self.at..place.start);
        self.out.push_str(before.unwrap_or_default());
        self.out.push_str(by);
        self.at = place.end;
    }

    fn finish(mut self) -> String {
        let rest = self.text.get(self.at..);
        self.out.push_str(rest.unwrap_or_default());
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(items: Range<usize>, answer: &str) -> EmbeddingsPart {
        EmbeddingsPart {
            items,
            answer: Bytes::from(answer.to_owned()),
        }
    }

    fn joined(endpoint: Endpoint, parts: &[EmbeddingsPart]) -> String {
        let joined = join_embeddings(endpoint, parts).unwrap();
        String::from_utf8(joined.to_vec()).unwrap()
    }

    #[test]
    fn vectors_pass_and_are_numbered_anew() {
        let parts = [
            part(
                0..2,
                concat!(
                    r#"{ "object":"list", "data":[{"embedding":[1.0, 2e-3],"index":1,"object":"embedding"},"#,
                    r#" {"index" : 0,"embedding":[0.10]}],"model":"m","x":null,"#,
                    r#""usage":{"prompt_tokens":5,"total_tokens":5,"d":{"cached":1}}}"#
                ),
            ),
            part(
                2..3,
                concat!(
                    r#"{"data":[{"object":"embedding","embedding":"AACAPwAAAEA=","index":0}],"#,
                    r#""model":"other","usage":{"prompt_tokens":7,"total_tokens":7,"d":{"cached":2}}}"#
                ),
            ),
        ];

        assert_eq!(
            joined(Endpoint::Embeddings, &parts),
            concat!(
                r#"{ "object":"list", "data":[{"embedding":[1.0, 2e-3],"index":1,"object":"embedding"},"#,
                r#"{"index" : 0,"embedding":[0.10]},"#,
                r#"{"object":"embedding","embedding":"AACAPwAAAEA=","index":2}],"model":"m","x":null,"#,
                r#""usage":{"prompt_tokens":12,"total_tokens":12,"d":{"cached":3}}}"#
            )
        );
    }

    #[test]
    fn vectors_of_ollama_follow_each_other() {
        let parts = [
            part(
                0..1,
                r#"{"model":"m","embeddings":[[1,2]],"total_duration":5,"prompt_eval_count":3}"#,
            ),
            part(
                1..3,
                r#"{"model":"m","embeddings":[[3,4], [5,6]],"total_duration":7,"prompt_eval_count":4}"#,
            ),
        ];

        assert_eq!(
            joined(Endpoint::OllamaEmbed, &parts),
            r#"{"model":"m","embeddings":[[1,2],[3,4],[5,6]],"total_duration":12,"prompt_eval_count":7}"#
        );
    }

    #[test]
    fn answers_that_are_not_of_their_inputs_are_refused() {
        let good = r#"{"data":[{"index":0,"embedding":[1]}]}"#;
        for (answer, inputs, error) in [
            (
                good,
                2,
                EmbeddingsError::Count {
                    found: 1,
                    expected: 2,
                },
            ),
            (
                r#"{"data":[]}"#,
                1,
                EmbeddingsError::Count {
                    found: 0,
                    expected: 1,
                },
            ),
            (
                r#"{"data":[{"index":1,"embedding":[1]}]}"#,
                1,
                EmbeddingsError::Index { index: 1, items: 1 },
            ),
            (r#"{"data":[{"index":0}]}"#, 1, EmbeddingsError::Malformed),
            (r#"{"data":[1]}"#, 1, EmbeddingsError::Malformed),
            (r#"{"data":{}}"#, 1, EmbeddingsError::Malformed),
            (r#"{"usage":{}}"#, 1, EmbeddingsError::Malformed),
            ("no", 1, EmbeddingsError::Malformed),
        ] {
            let checked = check_embeddings(Endpoint::Embeddings, answer.as_bytes(), inputs);
            assert_eq!(checked, Err(error), "{answer}");
        }
        let checked = check_embeddings(Endpoint::Embeddings, good.as_bytes(), 1);
        assert_eq!(checked, Ok(()));
        assert!(join_embeddings(Endpoint::Embeddings, &[]).is_err());
        assert!(!Endpoint::OllamaEmbeddings.is_divisible() && !Endpoint::Rerank.is_divisible());
    }

    proptest! {
        /// However an answer is cut into parts, joining them gives the vectors and counts of the whole.
        #[test]
        fn parts_make_the_whole(
            vectors in prop::collection::vec(prop::collection::vec(-1000i64..1000, 1..4), 1..20),
            cuts in prop::collection::vec(1usize..6, 20),
        ) {
            let mut parts = Vec::new();
            let mut from = 0;
            for cut in cuts {
                let to = (from + cut).min(vectors.len());
                if from == to {
                    break;
                }
                let data: Vec<_> = vectors[from..to]
                    .iter()
                    .enumerate()
                    .map(|(index, vector)| serde_json::json!({"index": index, "embedding": vector}))
                    .collect();
                let usage = serde_json::json!({"prompt_tokens": to - from});
                let answer = serde_json::json!({"data": data, "usage": usage});
                parts.push(part(from..to, &answer.to_string()));
                from = to;
            }
            prop_assume!(from == vectors.len());

            let joined = joined(Endpoint::Embeddings, &parts);
            let joined: serde_json::Value = serde_json::from_str(&joined).unwrap();

            prop_assert_eq!(joined["usage"]["prompt_tokens"].as_u64(), Some(vectors.len() as u64));
            let items = joined["data"].as_array().unwrap();
            prop_assert_eq!(items.len(), vectors.len());
            for (index, (item, vector)) in items.iter().zip(&vectors).enumerate() {
                prop_assert_eq!(item["index"].as_u64(), Some(index as u64));
                prop_assert_eq!(&item["embedding"], &serde_json::json!(vector));
            }
        }

        /// Nothing that a runtime sends panics, and what is joined is JSON.
        #[test]
        fn mutated_answers_are_joined_or_refused(at in 0usize..80, byte: u8) {
            let mut answer = br#"{"data":[{"index":0,"embedding":"AA=="}],"usage":{"prompt_tokens":5,"d":{"e":1}}}"#.to_vec();
            let at = at % answer.len();
            answer[at] = byte;
            let parts = [0..1, 1..2].map(|items| EmbeddingsPart {
                items,
                answer: Bytes::from(answer.clone()),
            });
            if let Ok(joined) = join_embeddings(Endpoint::Embeddings, &parts) {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&joined).is_ok());
            }
        }
    }
}
