use super::*;
use crate::fixture::{offer, peer, west, yaml};

fn imported(set: Option<&str>) -> Vec<Import> {
    let set: Option<ImportedServiceSetSpec> = set.map(yaml);
    imports(
        &west(),
        &peer("east"),
        set.as_ref(),
        &[offer("reviews", "bookinfo"), offer("ratings", "bookinfo")],
    )
}

fn hosts(imports: &[Import]) -> Vec<(&str, Option<&str>)> {
    imports.iter().map(|import| (import.message.name.as_str(), import.host())).collect()
}

#[test]
fn without_an_import_set_nothing_is_imported() {
    assert_eq!(hosts(&imported(None)), [("reviews", None), ("ratings", None)]);
}

#[test]
fn rules_choose_among_the_offers() {
    let found = imported(Some("importRules: [{type: NameSelector, nameSelector: {name: ratings}}]"));
    assert_eq!(
        hosts(&found),
        [("reviews", None), ("ratings", Some("ratings.bookinfo.svc.east-imports.local"))]
    );
}

#[test]
fn local_imports_get_the_domain_of_our_cluster() {
    let found = imported(Some(
        "importRules: [{type: NameSelector, nameSelector: {name: ratings, alias: {namespace: shop}}, importAsLocal: true}]",
    ));
    assert_eq!(found[1].host(), Some("ratings.shop.svc.cluster.local"));
}

#[test]
fn what_was_offered_is_kept_as_it_was() {
    assert_eq!(imported(None)[1].message, offer("ratings", "bookinfo"));
}

#[test]
fn status_lists_all_offers_and_where_they_are_here() {
    let found = imported(Some(
        "importRules: [{type: NameSelector, nameSelector: {name: reviews, alias: {namespace: shop}}}]",
    ));
    let status = serde_json::to_value(import_status(&found)).unwrap();
    let expected: serde_json::Value = yaml(
        "
        importedServices:
        - localService: {name: '', namespace: '', hostname: ''}
          exportedName: ratings.bookinfo.svc.west-exports.local
        - localService: {name: reviews, namespace: shop, hostname: reviews.shop.svc.east-imports.local}
          exportedName: reviews.bookinfo.svc.west-exports.local
        ",
    );
    assert_eq!(status, expected);
}

#[test]
fn status_of_nothing_is_an_empty_list() {
    assert_eq!(serde_json::to_string(&import_status(&[])).unwrap(), r#"{"importedServices":[]}"#);
}
