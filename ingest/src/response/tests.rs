//! Answers are compared with what a JSON reader makes of them.

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const ID: Uuid = Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057);

fn receipt(ack: Ack, accepted: usize, duplicates: usize, errors: Vec<EventError>) -> Receipt {
    Receipt { ack, accepted, duplicates, errors, ids: vec![Some(ID)], single: false }
}

fn error(index: usize, code: Code, message: &str) -> EventError {
    EventError { index, reject: Reject::new(code, message) }
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).expect("an answer is valid JSON")
}

#[test]
fn one_pulse_is_answered_with_its_id_and_level() {
    for (ack, status) in [(Ack::Memory, 202), (Ack::Durable, 202), (Ack::Stored, 200)] {
        let answer =
            Answer::receipt(&Receipt { single: true, ..receipt(ack, 1, 0, vec![]) }, false, 0.0);
        assert_eq!(answer.status, status);
        assert_eq!(answer.media, Media::Json);
        assert_eq!(body(&answer), json!({"id": ID.to_string(), "ack": ack.as_str()}));
        assert_eq!(answer.body.len(), answer.body.capacity(), "one exact allocation");
    }
}

#[test]
fn a_repeat_of_one_pulse_says_so() {
    let repeat = Receipt { single: true, ..receipt(Ack::Durable, 0, 1, vec![]) };
    let answer = Answer::receipt(&repeat, false, 0.0);
    assert_eq!(answer.status, 202);
    let expected = json!({"id": ID.to_string(), "ack": "durable", "duplicate": true});
    assert_eq!(body(&answer), expected);
}

#[test]
fn one_refused_pulse_is_a_problem_with_its_own_status() {
    for code in Code::ALL {
        let errors = vec![error(0, *code, "because \"quotes\" and \n lines")];
        let refused = Receipt { single: true, ..receipt(Ack::Durable, 0, 0, errors) };
        let answer = Answer::receipt(&refused, false, 0.0);
        assert_eq!(answer.status, code.status());
        assert_eq!(answer.media, Media::Problem);
        let body = body(&answer);
        assert_eq!(body["status"], code.status());
        assert_eq!(body["code"], code.as_str());
        assert_eq!(body["title"], code.title());
        assert_eq!(body["detail"], "because \"quotes\" and \n lines");
        assert!(body["type"].as_str().is_some_and(|url| url.ends_with(code.as_str())));
        let passes = matches!(code.status(), 409 | 429 | 503)
            && !matches!(code, Code::AckNotAvailable | Code::ReplayEnded);
        assert_eq!(answer.retry_after_s.is_some(), passes);
    }
}

#[test]
fn a_batch_is_taken_when_any_event_was_accepted_or_a_repeat() {
    let wrong = || vec![error(1, Code::WrongType, "latency_ms must be a number")];
    let passing = |code| vec![error(0, Code::WrongType, "wrong"), error(1, code, "later")];
    let cases = [
        (receipt(Ack::Durable, 2, 0, wrong()), 202),
        (receipt(Ack::Durable, 0, 1, wrong()), 202),
        (receipt(Ack::Stored, 2, 0, vec![]), 200),
        (receipt(Ack::Durable, 0, 0, wrong()), 400),
        (receipt(Ack::Durable, 0, 0, passing(Code::KeyInFlight)), 409),
        (receipt(Ack::Durable, 0, 0, passing(Code::ReservationsFull)), 503),
    ];
    for (receipt, status) in cases {
        let answer = Answer::receipt(&receipt, false, 0.0);
        assert_eq!(answer.status, status, "{receipt:?}");
        let body = body(&answer);
        assert_eq!(body["accepted"], receipt.accepted);
        assert_eq!(body["rejected"], receipt.errors.len());
        assert_eq!(body["duplicates"], receipt.duplicates);
        assert_eq!(body["ack"], receipt.ack.as_str());
        assert_eq!(body["errors"].as_array().map(Vec::len), Some(receipt.errors.len()));
        assert!(body.get("ids").is_none());
        assert_eq!(answer.media == Media::Problem, status >= 400);
        assert_eq!(body.get("code").is_some(), status >= 400);
    }
}

#[test]
fn ids_come_in_the_order_of_the_request_when_asked_for() {
    let mut mixed = receipt(Ack::Durable, 1, 0, vec![error(1, Code::InvalidJson, "no")]);
    mixed.ids = vec![Some(ID), None];
    let answer = Answer::receipt(&mixed, true, 0.0);
    assert_eq!(body(&answer)["ids"], json!([ID.to_string(), null]));
    let listed = json!([{"index": 1, "code": "invalid_json", "message": "no"}]);
    assert_eq!(body(&answer)["errors"], listed);
}

#[test]
fn errors_beyond_the_listed_ones_are_counted_by_code() {
    let errors = (0..10_000)
        .map(|index| {
            let code = if index % 2 == 0 { Code::InvalidJson } else { Code::WrongType };
            error(index, code, &"x".repeat(5_000))
        })
        .collect();
    let answer = Answer::receipt(&receipt(Ack::Durable, 1, 0, errors), false, 0.0);
    let body = body(&answer);
    assert_eq!(body["rejected"], 10_000);
    assert_eq!(body["errors"].as_array().map(Vec::len), Some(ERRORS_LISTED_MAX));
    assert_eq!(body["unlisted_errors"], json!({"invalid_json": 4_950, "wrong_type": 4_950}));
    assert!(answer.body.len() < 64 * 1024, "bounded: {}", answer.body.len());
}

#[test]
fn a_batch_of_which_all_became_dead_letters_says_so() {
    let errors = vec![error(0, Code::EmptyService, "x"), error(1, Code::DeadLettered, "y")];
    let answer = Answer::receipt(&receipt(Ack::Stored, 0, 0, errors), false, 0.0);
    assert_eq!((answer.status, &body(&answer)["code"]), (422, &json!("dead_lettered")));
    assert_eq!(body(&answer)["errors"][1]["index"], 1);
}

#[test]
fn a_problem_without_more_to_say_than_its_title_has_no_detail() {
    let answer = Answer::refusal(&Code::LogFull.into(), 0.0);
    assert_eq!(body(&answer)["title"], Code::LogFull.title());
    assert!(body(&answer).get("detail").is_none());
}

#[test]
fn a_message_is_cut_between_characters() {
    let text = "ä".repeat(MESSAGE_BYTES_MAX);
    let answer = Answer::problem(&Reject::new(Code::InvalidJson, text), None, 0.0);
    assert_eq!(body(&answer)["detail"].as_str().map(str::len), Some(MESSAGE_BYTES_MAX));
}

#[test]
fn retry_after_is_whole_seconds_rounded_up_and_spread() {
    let cases = [
        (None, 0.0, 1),
        (None, 1.0, 2),
        (Some(Duration::from_millis(10)), 0.0, 1),
        (Some(Duration::from_millis(1_001)), 0.0, 2),
        (Some(Duration::from_secs(10)), 0.0, 10),
        (Some(Duration::from_secs(10)), 1.0, 15),
        (Some(Duration::from_secs(1 << 40)), 0.5, RETRY_AFTER_S_MAX),
    ];
    for (wanted, jitter, expected) in cases {
        let refusal = Refusal { reject: Code::LogFull.into(), retry_after: wanted };
        let answer = Answer::refusal(&refusal, jitter);
        assert_eq!(answer.retry_after_s, Some(expected), "{wanted:?} {jitter}");
    }
    assert_eq!(Answer::refusal(&Code::NotFound.into(), 0.0).retry_after_s, None);
}
