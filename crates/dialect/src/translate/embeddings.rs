//! Answers with vectors. Those of Ollama's `/api/embed` have the length 1, whatever the runtime's have.

use super::AnswerTimes;
use super::answer::write_total;
use super::writing::{ObjectText, push_item};
use crate::assemble::AssembleError;
use crate::members::{NotJsonError, each_item, each_member, whole_number};
use crate::usage::Usage;

/// A length so near to 1 is one: runtimes round the numbers that they write.
const TOLERANCE: f64 = 1e-3;

/// Makes an answer with vectors of one of OpenAI's API.
pub(super) fn write_embeddings(
    model: &str,
    body: &str,
    (usage, times): (&Usage, AnswerTimes),
) -> Result<String, AssembleError> {
    let mut vectors: Vec<(u64, &str)> = Vec::new();
    each_member(body, |member| {
        if member.name != "data" {
            return Ok(());
        }
        each_item(member.value, |item| {
            let place = vectors.len() as u64;
            vectors.push(vector_of(item, place)?);
            Ok::<(), NotJsonError>(())
        })
    })?;
    vectors.sort_by_key(|(index, _)| *index);

    let mut out = ObjectText::with_room(body.len() + 256);
    out.json("model", model);
    let list = out.name("embeddings");
    list.push('[');
    for (_, vector) in vectors {
        push_item(list, &of_length_one(vector)?);
    }
    list.push(']');
    write_total(times, &mut out);
    if let Some(count) = usage.prompt.filter(|_| usage.source.is_trusted()) {
        out.json("prompt_eval_count", &count.to_string());
    }
    Ok(out.end())
}

/// Returns the index and the vector of an item. `place` is where it stands in the list.
fn vector_of(item: &str, place: u64) -> Result<(u64, &str), NotJsonError> {
    let mut index = place;
    let mut vector = None;
    each_member(item, |member| {
        match &*member.name {
            "index" => index = whole_number(member.value).unwrap_or(place),
            "embedding" => vector = Some(member.value),
            _ => {}
        }
        Ok::<(), NotJsonError>(())
    })?;
    Ok((index, vector.ok_or(NotJsonError)?))
}

/// Returns a vector of the length 1 in the same direction. One that has this length stays as it is
/// written, and so does one without any length.
fn of_length_one(vector: &str) -> Result<String, AssembleError> {
    let mut numbers: Vec<f64> = Vec::new();
    each_item(vector, |number| {
        numbers.push(number.parse().map_err(|_| NotJsonError)?);
        Ok::<(), NotJsonError>(())
    })
    .map_err(|NotJsonError| AssembleError::Malformed {
        expected: "a vector of numbers",
    })?;

    let length = numbers.iter().map(|it| it * it).sum::<f64>().sqrt();
    if (length - 1.0).abs() <= TOLERANCE || length == 0.0 || !length.is_finite() {
        return Ok(vector.to_owned());
    }
    let mut list = "[".to_owned();
    for number in numbers {
        // The precision that runtimes compute with.
        push_item(&mut list, &((number / length) as f32).to_string());
    }
    list.push(']');
    Ok(list)
}
