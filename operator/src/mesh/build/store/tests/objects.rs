//! The objects as YAML.

use super::fixture::{managed, plan, reached};
use crate::mesh::build::store::objects;
use crate::mesh::observed::Observed;

fn yaml(objects: &[crate::mesh::object::Object]) -> String {
    let documents =
        objects.iter().map(|object| serde_saphyr::to_string(&object.value).expect("YAML"));
    documents.collect::<Vec<_>>().join("---\n")
}

#[test]
fn one_cassandra_node() {
    let racks = [("rack1", 1)];
    let plan = plan(managed(&racks));
    let objects = objects(&plan, &Observed::default(), &reached(&racks)).expect("objects");
    insta::assert_snapshot!(yaml(&objects));
}
