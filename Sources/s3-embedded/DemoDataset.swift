import S3
import TestSupport

/// A few files of every kind that a first look wants: text, a table, small images' worth of files, large shards.
enum DemoDataset {
    static func put(into server: S3Server, bucket: String) {
        server.put(
            bucket, "README.txt",
            """
            A dataset made up by s3-embedded.
              measurements.csv   1,000 rows
              images/            200 files of 1 to 40 KB in 10 classes
              shards/            4 files of 16 MiB

            """)
        var rows = "day,sensor,value\n"
        for row in 0..<1000 { rows += "\(row / 10),\(row % 10),\(row * 7919 % 10_007)\n" }
        server.put(bucket, "measurements.csv", rows)
        for image in 0..<200 {
            let name = "images/class-\(image % 10)/\(String(1000 + image).dropFirst()).bin"
            server.put(bucket, name, .generated(size: UInt64(1000 + image * 197), seed: UInt64(image)))
        }
        for shard in 0..<4 {
            server.put(bucket, "shards/shard-00\(shard).bin", .generated(size: 16 << 20, seed: UInt64(1000 + shard)))
        }
    }
}
