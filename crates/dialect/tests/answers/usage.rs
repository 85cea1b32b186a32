//! Counts: their order of sources, and the places where they are known to be wrong.

use llamapool_dialect::{CountSource, Endpoint, Usage, usage_of_answer};

use crate::streams::read;

const TIMINGS: &str = r#""timings":{"cache_n":30,"prompt_n":2,"predicted_n":5}"#;

fn counts(prompt: u64, cached: Option<u64>, completion: u64, source: CountSource) -> Usage {
    Usage {
        prompt: Some(prompt),
        cached,
        completion: Some(completion),
        embeddings: None,
        source,
    }
}

fn of(endpoint: Endpoint, body: &str) -> Usage {
    usage_of_answer(endpoint, body.as_bytes())
}

#[test]
fn usage_goes_before_timings_and_takes_their_cache() {
    let usage = r#""usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}"#;
    let details = r#""usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":7}}"#;
    let cases = [
        (
            format!("{{{usage}}}"),
            counts(9, None, 4, CountSource::Usage),
        ),
        (
            format!("{{{details}}}"),
            counts(9, Some(7), 4, CountSource::Usage),
        ),
        (
            format!("{{{TIMINGS}}}"),
            counts(32, Some(30), 5, CountSource::Timings),
        ),
        (
            format!("{{{details},{TIMINGS}}}"),
            counts(9, Some(7), 4, CountSource::Usage),
        ),
        (
            format!("{{{TIMINGS},{usage}}}"),
            counts(9, Some(9), 4, CountSource::Usage),
        ),
        ("{}".to_owned(), Usage::default()),
        ("{\"usage\":null}".to_owned(), Usage::default()),
        ("{\"usage\":[1]}".to_owned(), Usage::default()),
        ("{\"timings\":null}".to_owned(), Usage::default()),
        ("no json".to_owned(), Usage::default()),
    ];
    for (body, expected) in cases {
        assert_eq!(of(Endpoint::ChatCompletions, &body), expected, "{body}");
    }
}

#[test]
fn anthropic_leaves_cached_tokens_out_of_its_input() {
    let body = r#"{"usage":{"input_tokens":1,"cache_read_input_tokens":31,"output_tokens":6}}"#;
    let created = r#"{"usage":{"input_tokens":1,"cache_read_input_tokens":31,"cache_creation_input_tokens":8,"output_tokens":6}}"#;

    let messages = of(Endpoint::Messages, body);
    assert_eq!(messages, counts(32, Some(31), 6, CountSource::Usage));
    let messages = of(Endpoint::Messages, created);
    assert_eq!(messages, counts(40, Some(31), 6, CountSource::Usage));
}

#[test]
fn responses_have_cached_tokens_within_their_input() {
    let body = r#"{"usage":{"input_tokens":12,"input_tokens_details":{"cached_tokens":10},"output_tokens":6}}"#;

    let usage = of(Endpoint::Responses, body);

    assert_eq!(usage, counts(12, Some(10), 6, CountSource::Usage));
}

#[test]
fn a_message_merges_the_usage_of_start_and_delta() {
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":3,"cache_read_input_tokens":20,"output_tokens":1}}}"#;
    let text =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
    let delta = r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":2}}"#;
    let full = r#"{"type":"message_delta","delta":{},"usage":{"input_tokens":12,"output_tokens":6,"cache_read_input_tokens":null}}"#;

    let usage = |data: &[&str]| read(Endpoint::Messages, data).0.usage();

    let cut = usage(&[start, text, text]);
    assert_eq!(cut, counts(23, Some(20), 2, CountSource::Events));
    let whole = usage(&[start, text, text, delta]);
    assert_eq!(whole, counts(23, Some(20), 2, CountSource::Usage));
    let replaced = usage(&[start, text, text, full]);
    assert_eq!(replaced, counts(32, Some(20), 6, CountSource::Usage));
}

#[test]
fn content_is_counted_where_nothing_else_is_told() {
    let chat = r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
    let responses = r#"{"type":"response.output_text.delta","delta":"a"}"#;
    let part = r#"{"type":"response.content_part.added"}"#;
    let ollama = r#"{"message":{"content":"a"},"done":false}"#;

    let cases: [(Endpoint, &[&str], u64); 3] = [
        (Endpoint::ChatCompletions, &[role, chat, chat, chat], 3),
        (Endpoint::Responses, &[part, responses, responses], 2),
        (Endpoint::OllamaChat, &[ollama, ollama], 2),
    ];
    for (endpoint, data, count) in cases {
        let usage = read(endpoint, data).0.usage();

        assert_eq!(usage.completion, Some(count), "{endpoint:?}");
        assert_eq!((usage.prompt, usage.source), (None, CountSource::Events));
        assert!(!usage.source.is_trusted());
    }
}

#[test]
fn several_choices_of_llama_cpp_are_not_trusted() {
    let usage = r#""usage":{"prompt_tokens":9,"completion_tokens":4}"#;
    let two = r#""choices":[{"index":0},{"index":1}]"#;
    let one = r#""choices":[{"index":0}]"#;

    let llama_cpp = of(
        Endpoint::ChatCompletions,
        &format!("{{{two},{usage},{TIMINGS}}}"),
    );
    assert_eq!((llama_cpp.prompt, llama_cpp.completion), (Some(9), Some(4)));
    assert_eq!(llama_cpp.source, CountSource::Events);
    let others = of(Endpoint::ChatCompletions, &format!("{{{two},{usage}}}"));
    assert_eq!(others.source, CountSource::Usage);
    let single = of(
        Endpoint::ChatCompletions,
        &format!("{{{one},{usage},{TIMINGS}}}"),
    );
    assert_eq!(single.source, CountSource::Usage);
}

#[test]
fn streamed_choices_of_llama_cpp_are_counted() {
    let text = |index| format!(r#"{{"choices":[{{"index":{index},"delta":{{"content":"a"}}}}]}}"#);
    let end =
        format!(r#"{{"choices":[{{"index":1,"delta":{{}},"finish_reason":"stop"}}],{TIMINGS}}}"#);
    let events = [
        text(0),
        text(1),
        text(0),
        text(1),
        text(0),
        text(1),
        text(0),
        end,
    ];
    let data: Vec<&str> = events.iter().map(String::as_str).collect();

    let usage = read(Endpoint::ChatCompletions, &data).0.usage();

    assert_eq!(usage, counts(32, Some(30), 7, CountSource::Events));
}

#[test]
fn the_last_usage_counts_and_zeros_do_not() {
    let usage = |prompt, completion| {
        format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}}}"#
        )
    };
    let events = [usage(0, 0), usage(8, 1), usage(8, 2), usage(0, 0)];
    let data: Vec<&str> = events.iter().map(String::as_str).collect();

    let read = read(Endpoint::Completions, &data).0.usage();

    assert_eq!(read, counts(8, None, 2, CountSource::Usage));
}

#[test]
fn usage_inside_a_choice_counts_too() {
    let chunk = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":3,"completion_tokens":2}}]}"#;

    let usage = read(Endpoint::ChatCompletions, &[chunk]).0.usage();

    assert_eq!(usage, counts(3, None, 2, CountSource::Usage));
}

#[test]
fn vectors_are_counted_and_sums_are_prompts() {
    let data = r#"{"data":[{"embedding":[1,2],"index":0},{"embedding":"AAA=","index":1}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#;
    let embed = r#"{"embeddings":[[0.1],[0.2],[0.3]],"prompt_eval_count":5}"#;
    let old = r#"{"embedding":[0.1,0.2]}"#;
    let rerank = r#"{"results":[{"index":0,"relevance_score":0.5}],"usage":{"total_tokens":9}}"#;
    let cases = [
        (
            Endpoint::Embeddings,
            data,
            Some(4),
            Some(2),
            CountSource::Usage,
        ),
        (
            Endpoint::OllamaEmbed,
            embed,
            Some(5),
            Some(3),
            CountSource::Timings,
        ),
        (
            Endpoint::OllamaEmbeddings,
            old,
            None,
            Some(1),
            CountSource::Estimate,
        ),
        (Endpoint::Rerank, rerank, Some(9), None, CountSource::Usage),
    ];
    for (endpoint, body, prompt, embeddings, source) in cases {
        let expected = Usage {
            prompt,
            embeddings,
            source,
            ..Usage::default()
        };
        assert_eq!(of(endpoint, body), expected, "{endpoint:?}");
    }
}

#[test]
fn strange_numbers_are_no_panic_and_no_overflow() {
    let max = u64::MAX;
    let body = |number: &str| {
        format!(
            r#"{{"usage":{{"input_tokens":{number},"cache_read_input_tokens":{max},"cache_creation_input_tokens":{max},"output_tokens":2}}}}"#
        )
    };

    let most = of(Endpoint::Messages, &body("18446744073709551615"));
    assert_eq!(most.prompt, Some(max));
    for number in ["-1", "1e400", "0.5", "\"x\"", "null", "{}"] {
        assert_eq!(
            of(Endpoint::Messages, &body(number)).prompt,
            None,
            "{number}"
        );
    }
    let float = of(
        Endpoint::ChatCompletions,
        r#"{"usage":{"prompt_tokens":12.0}}"#,
    );
    assert_eq!(float.prompt, Some(12));
}
