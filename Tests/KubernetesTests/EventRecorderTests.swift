import Kubernetes
import KubernetesTestSupport
import Testing

@Suite struct EventRecorderTests {
    let server = APIServer()
    let object = ObjectReference(kind: "PersistentVolumeClaim", namespace: "default", name: "a", uid: "u1")

    @Test func theSameEventIsWrittenOnceInAWhile() async {
        let recorder = EventRecorder(client: Client(server), component: "test", logger: quiet)
        for _ in 0..<50 { await recorder.record(.warning, on: object, reason: "Refused", message: "not allowed") }
        await recorder.record(.warning, on: object, reason: "Refused", message: "something else")
        let events = server.objects(Event.resource)
        #expect(events.count == 2)
        #expect(server.callCounts["create events"] == 2)
        #expect(events.first?.at("involvedObject", "uid") == "u1")
        server.stop()
    }

    @Test func countsGrowAfterTheQuietTimeAndOverRestarts() async {
        let recorder = EventRecorder(client: Client(server), component: "test", quietMs: 0, logger: quiet)
        for _ in 0..<3 { await recorder.record(.normal, on: object, reason: "Ok", message: "m") }
        #expect(server.objects(Event.resource).map { $0["count"] } == [3])
        // A new process finds the same Event and makes no second one.
        let next = EventRecorder(client: Client(server), component: "test", logger: quiet)
        await next.record(.normal, on: object, reason: "Ok", message: "m")
        #expect(server.objects(Event.resource).count == 1)
        server.stop()
    }

    @Test func anEventThatCannotBeWrittenIsForgotten() async {
        server.inject(Fault(resource: "events", .status(403, reason: "Forbidden")))
        let recorder = EventRecorder(client: Client(server), component: "test", logger: quiet)
        await recorder.record(.normal, on: object, reason: "Ok", message: "m")
        #expect(server.objects(Event.resource).isEmpty)
        server.stop()
    }
}
