//! The autoscaler of ingest. Pure.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};

use super::workload;
use crate::mesh::build::meta;
use crate::mesh::names::{self, Component};
use crate::mesh::plan::{Plan, Replicas};

/// The autoscaler, where one is asked for.
pub(super) fn object(plan: &Plan) -> Option<HorizontalPodAutoscaler> {
    let Replicas::Autoscaled(autoscaling) = &plan.ingest.replicas else { return None };
    let name = names::ingest(&plan.mesh.name);
    let target = workload::kind(plan).resource();
    Some(HorizontalPodAutoscaler {
        metadata: meta::of(plan, name.clone(), Component::Ingest),
        spec: HorizontalPodAutoscalerSpec {
            min_replicas: Some(autoscaling.min_replicas),
            max_replicas: autoscaling.max_replicas,
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some(target.api_version),
                kind: target.kind,
                name,
            },
            metrics: Some(vec![processor_time(autoscaling.target_cpu_percent)]),
            behavior: Some(HorizontalPodAutoscalerBehavior {
                scale_down: Some(slowly()),
                scale_up: None,
            }),
        },
        status: None,
    })
}

fn processor_time(percent: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(percent),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

/// One pod a minute, or a tenth of them: each has a log to hand over.
fn slowly() -> HPAScalingRules {
    let policy = |type_: &str, value: i32| HPAScalingPolicy {
        type_: type_.to_owned(),
        value,
        period_seconds: 60,
    };
    HPAScalingRules {
        policies: Some(vec![policy("Pods", 1), policy("Percent", 10)]),
        select_policy: Some("Max".to_owned()),
        ..HPAScalingRules::default()
    }
}
