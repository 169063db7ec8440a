//! What clients match on: codes, reasons, texts and details.

use super::*;

struct Deployments;

impl Named for Deployments {
    fn group(&self) -> &str {
        "apps"
    }

    fn kind(&self) -> &str {
        "Deployment"
    }

    fn plural(&self) -> &str {
        "deployments"
    }
}

struct Pods;

impl Named for Pods {
    fn group(&self) -> &str {
        ""
    }

    fn kind(&self) -> &str {
        "Pod"
    }

    fn plural(&self) -> &str {
        "pods"
    }
}

#[test]
fn errors_have_the_codes_reasons_and_texts_of_the_real_server() {
    let accepted = ["application/json", "application/yaml"];
    for (status, code, reason, message) in [
        (ApiStatus::not_found(&Deployments, "a"), 404, "NotFound", "deployments.apps \"a\" not found"),
        (ApiStatus::not_found(&Pods, "a"), 404, "NotFound", "pods \"a\" not found"),
        (ApiStatus::unknown_path(), 404, "NotFound", "the server could not find the requested resource"),
        (ApiStatus::already_exists(&Pods, "a"), 409, "AlreadyExists", "pods \"a\" already exists"),
        (
            ApiStatus::stale(&Pods, "a"),
            409,
            "Conflict",
            "Operation cannot be fulfilled on pods \"a\": the object has been modified; please apply your changes to the latest version and try again",
        ),
        (ApiStatus::apply_conflict("why".into(), Vec::new()), 409, "Conflict", "why"),
        (
            ApiStatus::forbidden("apps", "deployments", "a", "why"),
            403,
            "Forbidden",
            "deployments.apps \"a\" is forbidden: why",
        ),
        (ApiStatus::forbidden("", "pods", "", "why"), 403, "Forbidden", "pods is forbidden: why"),
        (ApiStatus::forbidden("", "", "", "why"), 403, "Forbidden", "forbidden: why"),
        (ApiStatus::unauthorized(), 401, "Unauthorized", "Unauthorized"),
        (ApiStatus::bad_request("why"), 400, "BadRequest", "why"),
        (
            ApiStatus::method_not_allowed("", "pods", "patch"),
            405,
            "MethodNotAllowed",
            "patch is not supported on resources of kind \"pods\"",
        ),
        (
            ApiStatus::not_acceptable(&accepted),
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml",
        ),
        (
            ApiStatus::unsupported_media_type(&accepted),
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml",
        ),
        (ApiStatus::expired("why"), 410, "Expired", "why"),
        (ApiStatus::too_old(3, 7), 410, "Expired", "too old resource version: 3 (7)"),
        (ApiStatus::timeout("why"), 504, "Timeout", "Timeout: why"),
        (
            ApiStatus::too_large_resource_version(9, 7),
            504,
            "Timeout",
            "Timeout: Too large resource version: 9, current: 7",
        ),
        (ApiStatus::too_many_requests("why", 3), 429, "TooManyRequests", "why"),
        (ApiStatus::too_large(7), 413, "RequestEntityTooLarge", "Request entity too large: limit is 7"),
        (ApiStatus::unavailable("why"), 503, "ServiceUnavailable", "why"),
        (ApiStatus::internal("why"), 500, "InternalError", "Internal error occurred: why"),
        (ApiStatus::custom(418, Some("Conflict"), "why"), 418, "Conflict", "why"),
        (ApiStatus::custom(418, Some("Mine"), "why"), 418, "", "why"),
        (ApiStatus::custom(418, None, "why"), 418, "", "why"),
    ] {
        assert_eq!((status.code, status.reason, status.to_string().as_str()), (code, reason, message));
    }
}

#[test]
fn details_name_the_object() {
    let details = |status: ApiStatus| status.to_value()["details"].clone();
    assert_eq!(
        details(ApiStatus::not_found(&Deployments, "a")),
        json!({"name": "a", "group": "apps", "kind": "deployments"})
    );
    assert_eq!(details(ApiStatus::already_exists(&Pods, "a")), json!({"name": "a", "kind": "pods"}));
    assert_eq!(details(ApiStatus::conflict(&Pods, "a", "why")), json!({"name": "a", "kind": "pods"}));
    assert_eq!(
        details(ApiStatus::method_not_allowed("apps", "deployments", "x")),
        json!({"group": "apps", "kind": "deployments"})
    );
    assert_eq!(details(ApiStatus::forbidden("", "pods", "a", "why")), json!({"name": "a", "kind": "pods"}));
    let error = FieldError::required("spec", "");
    assert_eq!(details(ApiStatus::invalid(&Deployments, "a", &[error]))["kind"], "Deployment");
}

#[test]
fn details_say_when_to_try_again() {
    let later = ApiStatus::too_many_requests("why", 3).to_value();
    assert_eq!(later["details"], json!({"retryAfterSeconds": 3}));
    let soon = ApiStatus::too_large_resource_version(9, 7).to_value();
    assert_eq!(
        soon["details"],
        json!({"retryAfterSeconds": 1, "causes": [
            {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]})
    );
}

#[test]
fn details_list_causes() {
    let cause = Cause { reason: "FieldManagerConflict".into(), message: "m".into(), field: ".spec".into() };
    let conflict = ApiStatus::apply_conflict("why".into(), vec![cause]).to_value();
    let wanted = json!([{"reason": "FieldManagerConflict", "message": "m", "field": ".spec"}]);
    assert_eq!(conflict["details"]["causes"], wanted);
    assert_eq!(ApiStatus::internal("why").to_value()["details"], json!({"causes": [{"message": "why"}]}));
    assert_eq!(ApiStatus::unknown_path().to_value()["details"], json!({}));
}

#[test]
fn a_status_without_a_reason_or_details_has_neither() {
    assert_eq!(
        ApiStatus::custom(418, None, "why").to_value(),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "why", "code": 418})
    );
}

#[test]
fn a_deletion_is_a_success() {
    assert_eq!(
        deleted(&Arc::new(Deployments), "a", "u"),
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": "a", "group": "apps", "kind": "deployments", "uid": "u"}})
    );
}

#[test]
fn one_fault_stands_alone_and_several_in_brackets() {
    let text = |errors: &[FieldError]| ApiStatus::invalid(&Pods, "a", errors).message;
    let (one, two) = (FieldError::required("spec", ""), FieldError::forbidden("", "no"));
    assert_eq!(text(std::slice::from_ref(&one)), "Pod \"a\" is invalid: spec: Required value");
    assert_eq!(text(&[one, two]), "Pod \"a\" is invalid: [spec: Required value, <nil>: Forbidden: no]");
    let error = FieldError::required("spec", "");
    assert!(
        ApiStatus::invalid(&Arc::new(Deployments), "a", &[error])
            .message
            .starts_with("Deployment.apps \"a\"")
    );
}

#[test]
fn faults_are_told_apart_by_their_class() {
    let of = |kind: FieldErrorKind| FieldError { kind, ..FieldError::invalid("f", "v", "why") };
    for (error, text, reason) in [
        (FieldError::required("f", "why"), "f: Required value: why", "FieldValueRequired"),
        (FieldError::invalid("f", 7, "why"), "f: Invalid value: 7: why", "FieldValueInvalid"),
        (FieldError::type_invalid("f", "v", "why"), "f: Invalid value: \"v\": why", "FieldValueTypeInvalid"),
        (
            FieldError::not_supported("f", "v", &["a", "b"]),
            "f: Unsupported value: \"v\": supported values: \"a\", \"b\"",
            "FieldValueNotSupported",
        ),
        (FieldError::duplicate("f", "v"), "f: Duplicate value: \"v\"", "FieldValueDuplicate"),
        (FieldError::not_found("f", "v"), "f: Not found: \"v\"", "FieldValueNotFound"),
        (FieldError::forbidden("f", "why"), "f: Forbidden: why", "FieldValueForbidden"),
        (of(FieldErrorKind::TooLong), "f: Too long: why", "FieldValueTooLong"),
        (of(FieldErrorKind::TooMany), "f: Too many: \"v\": why", "FieldValueTooMany"),
    ] {
        assert_eq!(error.to_string(), text);
        let cause = error.cause();
        assert_eq!((cause.reason.as_str(), cause.field.as_str()), (reason, "f"));
        assert_eq!(format!("f: {}", cause.message), text);
    }
    assert_eq!(FieldError::required("", "").cause().field, "<nil>");
}
