//! Reviews: v1 has none of the stars, v2 asks ratings and shows black ones, v3 red ones.

use http::HeaderMap;
use serde_json::{Value, json};

use crate::ReviewsVersion;
use crate::client::HttpClient;

const REVIEWERS: [(&str, &str); 2] = [
    (
        "Reviewer1",
        "Mistaken twins, a duke with a short temper and a shipwreck: I laughed until the last page.",
    ),
    ("Reviewer2", "Light, quick and noisy. Not his deepest play, but the one to read on a train."),
];

/// The reviews of product `id`, with stars where this release shows them.
pub(crate) async fn reviews(
    version: ReviewsVersion,
    ratings: &str,
    client: &HttpClient,
    id: u32,
    headers: &HeaderMap,
) -> Value {
    let stars = match version {
        ReviewsVersion::V1 => None,
        ReviewsVersion::V2 | ReviewsVersion::V3 => Some(stars(ratings, client, id, headers).await),
    };
    let color = if version == ReviewsVersion::V3 { "red" } else { "black" };
    let list: Vec<Value> = REVIEWERS
        .iter()
        .map(|(reviewer, text)| {
            let mut review = json!({"reviewer": reviewer, "text": text});
            match &stars {
                None => {}
                Some(Ok(by_reviewer)) => {
                    review["rating"] = json!({"stars": by_reviewer[*reviewer], "color": color});
                }
                Some(Err(reason)) => review["rating"] = json!({"error": reason}),
            }
            review
        })
        .collect();
    json!({
        "id": id.to_string(),
        "podname": std::env::var("HOSTNAME").unwrap_or_default(),
        "version": match version {
            ReviewsVersion::V1 => "v1",
            ReviewsVersion::V2 => "v2",
            ReviewsVersion::V3 => "v3",
        },
        "reviews": list,
    })
}

/// What ratings says by reviewer, or why it does not.
async fn stars(ratings: &str, client: &HttpClient, id: u32, headers: &HeaderMap) -> Result<Value, String> {
    let answer = client
        .get(&format!("http://{ratings}/ratings/{id}"), headers)
        .await
        .map_err(|error| format!("ratings cannot be reached: {error:#}"))?;
    if !answer.status.is_success() {
        return Err(format!("ratings answered {}", answer.status.as_u16()));
    }
    serde_json::from_slice::<Value>(&answer.body)
        .ok()
        .and_then(|body| body.get("ratings").cloned())
        .ok_or_else(|| "ratings answered something else than ratings".to_owned())
}
