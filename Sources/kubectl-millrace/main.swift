import Kubectl

await Millrace.start()
