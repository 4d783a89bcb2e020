//! Every code that a client can be told, in one list: what it is called, which status it has as
//! a whole answer, and what it means. `docs/errors.md` is checked against it.

macro_rules! codes {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident = $text:literal, $status:literal, $title:literal;
    )+) => {
        /// Why a request or one of its events was refused. Stable: a code never changes its
        /// meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// Every code, in the order of the documents.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The stable word that clients match on.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The HTTP status of an answer that consists of this refusal.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// One line for a person, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

codes! {
    // One event is wrong; its neighbours are judged alone.
    /// Not JSON.
    InvalidJson = "invalid_json", 400, "The text is not valid JSON";
    /// Bytes that are not UTF-8.
    InvalidUtf8 = "invalid_utf8", 400, "The text is not valid UTF-8";
    /// JSON, but not an object.
    NotAnObject = "not_an_object", 400, "An event must be a JSON object";
    /// A field that the shape requires is absent.
    MissingField = "missing_field", 400, "A required field is missing";
    /// A field has a value of another type than it must have.
    WrongType = "wrong_type", 400, "A field has a value of the wrong type";
    /// The service is empty text.
    EmptyService = "empty_service", 400, "The service name is empty";
    /// Another required text is empty.
    EmptyField = "empty_field", 400, "A field that names something is empty";
    /// A key occurs twice in one object.
    DuplicateKey = "duplicate_key", 400, "A key occurs twice in one object";
    /// Two names of one field have different values.
    ConflictingFields = "conflicting_fields", 400, "Two names of one field have different values";
    /// The literal `NaN`.
    NotANumber = "not_a_number", 400, "NaN is not a JSON number";
    /// The literals `Infinity` and `-Infinity`.
    InfiniteNumber = "infinite_number", 400, "Infinity is not a JSON number";
    /// A number beyond the range of a double.
    NumberOutOfRange = "number_out_of_range", 400, "A number is out of range";
    /// A usage amount that is no exact decimal of at most 28 digits.
    InvalidAmount = "invalid_amount", 400, "The amount is not a decimal of at most 28 digits";
    /// A time that is neither RFC 3339 nor epoch milliseconds.
    InvalidTime = "invalid_time", 400, "The time is neither RFC 3339 nor epoch milliseconds";
    /// The event time is older than the retention.
    EventTimeTooOld = "event_time_too_old", 400, "The event time is older than the retention";
    /// The event time is more than 10 minutes ahead.
    EventTimeInFuture = "event_time_in_future", 400, "The event time is over 10 minutes ahead";
    /// An id or key that is empty or has control characters.
    InvalidId = "invalid_id", 400, "The id or key is empty or has control characters";
    /// Text over its bound.
    StringTooLong = "string_too_long", 400, "A text is too long";
    /// More metadata entries than a pulse may have.
    TooManyMetadata = "too_many_metadata", 400, "Too many metadata entries";
    /// The payload is over 64 KiB.
    PayloadTooLarge = "payload_too_large", 400, "The payload is larger than 64 KiB";
    /// One event is over 512 KiB.
    EventTooLarge = "event_too_large", 400, "The event is larger than 512 KiB";
    /// JSON nested deeper than 32 levels.
    NestingTooDeep = "nesting_too_deep", 400, "The JSON is nested too deeply";
    /// The key or id was used before with another body.
    KeyReused = "key_reused", 422, "The key was used before with another body";
    /// The pulse is not as the tenant's schema of its kind has it.
    SchemaViolation = "schema_violation", 422, "The pulse is not as its schema has it";
    /// The first request with this key is not finished.
    KeyInFlight = "key_in_flight", 409, "A request with the same key is in flight";
    /// The pulse was logged, and a required sink could not store it.
    DeadLettered = "dead_lettered", 422, "The pulse was kept as a dead letter";

    // The request is not allowed.
    /// Tenants are configured, and the request has no key.
    NoApiKey = "no_api_key", 401, "The request has no API key";
    /// The key is none that is known.
    UnknownApiKey = "unknown_api_key", 401, "The API key is not known";
    /// The key does not allow this.
    NotPermitted = "not_permitted", 403, "The API key does not allow this";

    // The request is wrong.
    /// No such path.
    NotFound = "not_found", 404, "There is no such resource";
    /// The path does not take this method.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed here";
    /// A query parameter is unknown, repeated or malformed.
    InvalidParameter = "invalid_parameter", 400, "A parameter is invalid";
    /// A header is malformed.
    InvalidHeader = "invalid_header", 400, "A header is invalid";
    /// The content type is none that is read.
    UnsupportedMediaType = "unsupported_media_type", 415, "The content type is not supported";
    /// The content encoding is none that is read.
    UnsupportedEncoding = "unsupported_encoding", 415, "The content encoding is not supported";
    /// The compressed body is damaged or cut short.
    CorruptEncoding = "corrupt_encoding", 400, "The compressed body is damaged";
    /// No event at all.
    EmptyBody = "empty_body", 400, "The body holds no event";
    /// The body as sent is too large.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The body is too large once decompressed.
    DecompressedTooLarge = "decompressed_too_large", 413, "The decompressed body is too large";
    /// The body expands more than any honest text does.
    CompressionRatio = "compression_ratio_too_high", 413, "The compression ratio is too high";
    /// More header bytes or header lines than are read.
    HeadersTooLarge = "headers_too_large", 431, "The headers are too large or too many";
    /// No event of a batch was accepted, and none was a repeat.
    NoneAccepted = "none_accepted", 400, "No event of the batch was accepted";
    /// Too many events in one request.
    BatchTooLong = "batch_too_long", 413, "The batch has too many events";
    /// The body did not arrive in time.
    BodyTimeout = "body_timeout", 408, "The body did not arrive in time";
    /// The connection ended within the body.
    BodyIncomplete = "body_incomplete", 400, "The body ended early";
    /// The dead letter is on its way to its sink.
    LetterInReplay = "letter_in_replay", 409, "The dead letter is being replayed";
    /// The replay has ended: it can't be paused, resumed or cancelled.
    ReplayEnded = "replay_ended", 409, "The replay has ended";

    /// An erasure was not confirmed with the tenant's name.
    NotConfirmed = "not_confirmed", 422, "The erasure is not confirmed with the tenant's name";
    /// The erasure has ended: it can't be cancelled.
    ErasureEnded = "erasure_ended", 409, "The erasure has ended";

    // The request was fine; we can't serve it now.
    /// As many erasures as there may be have not ended.
    TooManyErasures = "too_many_erasures", 429, "Too many erasures have not ended";
    /// As many replays as there may be have not ended.
    TooManyReplays = "too_many_replays", 429, "Too many replays have not ended";
    /// What is kept of erasures could not be written.
    ErasuresFailed = "erasures_failed", 503, "The erasure could not be kept";
    /// The dead letters could not be read or written.
    DeadLettersFailed = "dead_letters_failed", 503, "The dead letters could not be used";
    /// The tenant holds more than its share of a log that is over half full.
    OverShare = "over_share", 429, "The tenant holds more than its share of the log";
    /// The tenant has sent as many requests as it may for now.
    TooManyRequests = "too_many_requests", 429, "The tenant's limit of requests is used up";
    /// The tenant has sent as many pulses as it may for now; those of accepted requests count
    /// after them, so that the next request is refused.
    TooManyPulses = "too_many_pulses", 429, "The tenant's limit of pulses is used up";
    /// The limits of tenants are shared, and nobody can say how much is used of them.
    LimitsUnavailable = "limits_unavailable", 503, "The limits of tenants can't be counted";
    /// The process has as much work in flight as it can hold.
    Overloaded = "overloaded", 503, "The server is at its capacity";
    /// The memory buffer is full.
    BufferFull = "buffer_full", 503, "The memory buffer is full";
    /// The log's budget is full: the store is behind.
    LogFull = "log_full", 503, "The log is full";
    /// The log's disk is full.
    DiskFull = "disk_full", 503, "The disk is full";
    /// The log could not be written.
    LogFailed = "log_failed", 503, "The log could not be written";
    /// The table of reserved ids and keys is full.
    ReservationsFull = "reservations_full", 503, "Too many ids and keys are reserved";
    /// Ids and keys are shared with other processes, and nobody can say which were used.
    IdempotencyUnavailable = "idempotency_unavailable", 503, "Ids and keys can't be looked up";
    /// The level that was asked for is above what the server gives.
    AckNotAvailable = "ack_not_available", 503, "The acknowledgement level is not available";
    /// The pulse is in the log and was not stored within the time that a request may wait.
    NotStoredInTime = "not_stored_in_time", 503, "The pulse is logged but was not stored in time";
    /// The answer was not ready within the time that a request may take; what was sent may have
    /// been accepted.
    TimedOut = "timed_out", 503, "The answer was not ready in time";
    /// The store can't be asked now.
    StoreUnavailable = "store_unavailable", 503, "The store is unavailable";
    /// The store keeps no index of ids.
    NotIndexed = "not_indexed", 501, "The store does not index ids";
    /// The process is about to stop.
    Stopping = "stopping", 503, "The server is stopping";
    /// A defect of ours.
    Internal = "internal", 500, "Internal error";
}

/// One event's refusal, or a whole request's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Which kind.
    pub code: Code,
    /// What exactly, for a person: which field, where, and what would be right.
    pub message: String,
}

impl Reject {
    /// A refusal with its explanation.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<Code> for Reject {
    fn from(code: Code) -> Self {
        Self::new(code, code.title())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_words() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert!(
                code.as_str()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
            );
            assert!(Code::ALL[index + 1..].iter().all(|other| other.as_str() != code.as_str()));
        }
    }

    #[test]
    fn the_document_lists_each_code_with_its_status_in_this_order() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        let text = std::fs::read_to_string(path).expect("docs/errors.md");
        let listed: Vec<(String, String)> = text
            .lines()
            .filter(|line| line.starts_with("| <a id="))
            .map(|line| {
                let mut cells = line.split('|').skip(1).map(str::trim);
                let code = cells.next().unwrap_or_default();
                (code.to_owned(), cells.next().unwrap_or_default().to_owned())
            })
            .collect();
        let expected: Vec<(String, String)> = Code::ALL
            .iter()
            .map(|code| {
                let word = code.as_str();
                (format!("<a id=\"{word}\"></a>`{word}`"), code.status().to_string())
            })
            .collect();
        assert_eq!(listed, expected);
    }
}
