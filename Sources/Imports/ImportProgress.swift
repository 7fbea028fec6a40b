import Kubernetes

extension DatasetImport.Progress {
    /// From what `millrace cp` reports; nil where it makes no sense.
    init?(report: JSON?) {
        guard let objects = report?["objects"]?.integer, let bytes = report?["bytes"]?.integer else { return nil }
        let bytesTotal = report?["bytesTotal"]?.integer
        let objectsTotal = report?["objectsTotal"]?.integer
        self.init(objects: objects, objectsTotal: objectsTotal, bytes: bytes, bytesTotal: bytesTotal)
        if let bytesTotal, bytesTotal > 0 {
            percent = min(100, bytes * 100 / bytesTotal)
        } else if let objectsTotal, objectsTotal > 0 {
            percent = min(100, objects * 100 / objectsTotal)
        } else if objectsTotal == 0 {
            percent = 100
        }
    }
}
